SELECT d0, c0, d1, c1
FROM (SELECT bitmapToArray(groupBitmapStateIf(profile, event = %s AND ts > %s AND ts <= %s)) AS d0, groupArraySortedIf(9)((toUnixTimestamp64Milli(ts) + %s, profile), event = %s AND ts > %s AND ts <= %s) AS c0, bitmapToArray(groupBitmapStateIf(profile, event = %s AND ts > %s AND ts <= %s)) AS d1, groupArraySortedIf(9)((toUnixTimestamp64Milli(ts) + %s, profile), event = %s AND ts > %s AND ts <= %s) AS c1
FROM timeline
WHERE workspace = %s AND space = %s AND piece <= %s AND event IN %s AND ts > %s AND ts <= %s) AS of_timeline
-- ['Seen', '2026-06-08 11:59:59.000', '2026-06-08 12:00:00.000', 604800000, 'Seen', '2026-06-08 12:00:00.000', '2026-06-08 13:00:00.000', 'Seen', '2026-06-15 11:59:59.000', '2026-06-15 12:00:00.000', 0, 'Seen', '2026-06-15 12:00:00.000', '2026-06-15 13:00:00.000', 3, 5, 9, ['Seen'], '2026-06-08 11:59:59.000', '2026-06-15 13:00:00.000']
