"""Lists have a column of their own, as JSON text: among the properties, one list's type depends on those beside it.

Rows from before have their lists from what was kept of them there. The default says so, so that they are right at
once, also those that the release before still writes; `MATERIALIZE` only makes reading them cheap, when it has time.
"""

TEXT = "arrayFold((at, key) -> JSONExtractRaw(at, key), splitByChar('.', path), toJSONString(properties))"
LISTS = f"""
    CAST(
        concat('{{', arrayStringConcat(arrayMap(
            path -> concat(toJSONString(path), ':', toJSONString({TEXT})),
            arrayFilter((path, type) -> startsWith(type, 'Array'),
                mapKeys(JSONAllPathsWithTypes(properties)), mapValues(JSONAllPathsWithTypes(properties)))
        ), ','), '}}')
        AS JSON(max_dynamic_paths=64)
    )
"""


def apply(run, engine):
    run(f"ALTER TABLE timeline ADD COLUMN IF NOT EXISTS lists JSON(max_dynamic_paths=64) DEFAULT {LISTS}")
    run("ALTER TABLE timeline MATERIALIZE COLUMN lists SETTINGS mutations_sync = 0")
