"""Which formats a host gets: `serving` says what each renderer says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from renderers.registry import RENDERERS, serving

SYSTEM = st.fixed_dictionaries(
    {},
    optional={
        "distribution": st.sampled_from(["debian", "ubuntu", "rocky", "rhel", "fedora", "sles", "windows", "esxi", ""]),
        "version": st.just("1"),
    },
)
INSTALL = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([None, "http://a.example/"]) for name in ("source", "image", "kernel", "initrd", "callback")}
)
READ = {name for renderer in RENDERERS.values() for name in renderer.uses} - {"os", "install"}
OTHERS = {name: st.sampled_from([None, "x", {}, {"a": 1}, [], [{"name": "x"}], True]) for name in sorted(READ)}


@given(values=st.fixed_dictionaries({}, optional={"os": SYSTEM, "install": INSTALL, **OTHERS}))
def test_it_is_what_each_renderer_says(values: dict[str, Any]) -> None:
    assert serving(values) == {name for name, renderer in RENDERERS.items() if renderer.serves(values)}
