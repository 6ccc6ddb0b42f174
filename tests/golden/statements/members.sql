SELECT groupBitmapStateIf(profile, a0), groupBitmapStateIf(profile, a1)
FROM (SELECT profile, (known AND ((counts[1] >= %s) AND NOT (ifNull(if(startsWith(newest[1].5, '"'), JSONExtractString(newest[1].5), NULL) = %s, 0)))) AS a0, (known AND (bitmapContains(CAST(base64Decode(%s) AS AggregateFunction(groupBitmap, UInt32)), profile) OR NOT (a0))) AS a1
FROM (SELECT if(winner = 0, raw, winner) AS profile, max(is_person) AS person, max(is_known) AS known, sumForEach(counts) AS counts, maxForEach(newest) AS newest
FROM (SELECT profile AS raw, kind = 1 AS is_person, known AS is_known, CAST([] AS Array(UInt64)) AS counts, CAST([] AS Array(Tuple(DateTime64(3, 'UTC'), UInt32, UInt64, UInt32, String))) AS newest
FROM profiles
WHERE workspace = %s AND space = %s AND piece <= %s AND profile IN %s
UNION ALL SELECT profile AS raw, 0 AS is_person, 0 AS is_known, [countIf(event = %s AND ts > %s AND ts <= %s)] AS counts, CAST([] AS Array(Tuple(DateTime64(3, 'UTC'), UInt32, UInt64, UInt32, String))) AS newest
FROM timeline
WHERE workspace = %s AND space = %s AND piece <= %s AND profile IN %s AND event IN %s AND ts > %s
GROUP BY profile
UNION ALL SELECT profile AS raw, 0 AS is_person, 0 AS is_known, CAST([] AS Array(UInt64)) AS counts, [maxIf((ts, source, origin_piece, origin_position, value), key = %s)] AS newest
FROM traits
WHERE workspace = %s AND space = %s AND piece <= %s AND profile IN %s AND key IN %s
GROUP BY profile) AS rows
LEFT JOIN (SELECT loser, argMax(winner, piece) AS winner
FROM overlay
WHERE workspace = %s AND space = %s AND piece <= %s AND loser IN %s
GROUP BY loser) AS merged ON loser = raw
GROUP BY profile)
WHERE person)
-- [1, 'pro', 'AAEHAAAA', 3, 5, 9, [1, 2], 'Seen', '2026-06-08 12:00:00.000', '2026-06-15 12:00:00.000', 3, 5, 9, [1, 2], ['Seen'], '2026-06-08 12:00:00.000', 'plan', 3, 5, 9, [1, 2], ['plan'], 3, 5, 9, [1, 2]]
