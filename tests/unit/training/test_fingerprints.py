"""Digests of a batch's rows."""

import torch

from crrn.mixing import Mixture
from crrn.training.fingerprints import mixture_digests


def batch() -> Mixture:
    known = torch.tensor([True, False, True])
    return Mixture(*torch.rand(3, 3, 3, 8, 8), known, torch.rand(3, 2))


def test_a_digest_depends_on_its_own_row_alone():
    whole = batch()
    assert torch.equal(mixture_digests(whole.rows(slice(1, 3))), mixture_digests(whole)[1:])
    assert len(set(mixture_digests(whole).tolist())) == 3


def test_a_digest_depends_on_every_field():
    whole = batch()
    for name in Mixture._fields:
        other = [None if field is None else field.clone() for field in whole]
        changed = other[Mixture._fields.index(name)]
        changed[1] = ~changed[1] if changed.dtype == torch.bool else 1 - changed[1]
        different = mixture_digests(Mixture(*other)) != mixture_digests(whole)
        assert different.tolist() == [False, True, False], name


def test_fields_may_be_absent():
    plain = Mixture(*batch()[:3])
    assert len(mixture_digests(plain)) == 3
