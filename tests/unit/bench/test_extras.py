"""What a benchmark says where a package is missing."""

import pytest

from crrn.bench.extras import require
from crrn.errors import ConfigError


def test_a_missing_package_is_named_with_its_way_out():
    require("loss", "torch")
    with pytest.raises(ConfigError, match=r"loss .*no_such_peer.*'crrn\[bench\]'"):
        require("loss", "torch", "no_such_peer")
