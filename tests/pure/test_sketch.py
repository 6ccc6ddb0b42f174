"""The builder's form as a tree: what it means, and where it is wrong."""

from hypothesis import given, settings

from audiences import grammar, sketch
from tests.worlds import definitions


@settings(max_examples=300)
@given(definitions("other"))
def test_a_definition_comes_back_from_the_form_as_it_was(definition):
    normal = grammar.to_json(grammar.parse(definition))
    shown = sketch.fields_of(sketch.of_definition(normal))
    assert all(isinstance(value, str) for value in shown.values())
    assert repr(sketch.definition(sketch.of_fields(shown))) == repr(normal)
