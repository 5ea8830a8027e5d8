"""The public face of `stretto.middleware`."""

import pytest

import stretto.middleware as face


def test_all_is_sorted_and_every_name_resolves() -> None:
    assert face.__all__ == sorted(face.__all__)
    assert [getattr(face, name).__name__ for name in face.__all__] == face.__all__
    assert set(face.__all__) <= set(dir(face))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Hegde'"):
        _ = face.Hegde
