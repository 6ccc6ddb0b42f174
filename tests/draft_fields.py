"""The fields that the builder's form has for a tree, as a browser sends them back."""

from audiences.rules import draft_form


def fields_of(tree):
    """Field name -> text."""
    root = draft_form.as_group(tree)
    return {"tree.bare": "1" if draft_form.is_bare(tree) else "", **dict(_inputs(root, "tree"))}


def _inputs(node, name):
    yield f"{name}.not", str(draft_form.negations(node))
    node = draft_form.without_not(node)
    if "kind" in node:
        yield from _texts(node, name)
        return
    word = draft_form.word_of(node)
    yield f"{name}.join", word
    if of := draft_form.whom_of(node):
        yield f"{name}.{of}", node[of]
    for i, row in enumerate(node[word]):
        yield from _inputs(row, f"{name}.rows.{i}")


def _texts(value, name):
    if isinstance(value, str):
        yield name, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _texts(inner, f"{name}.{key}")
