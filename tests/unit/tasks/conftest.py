import pytest


@pytest.fixture
def seen(monkeypatch):
    """Keys of every batch that is collated."""
    from espnet_psslm.data.collate import StepsCollate

    batches = []
    real = StepsCollate.__call__
    monkeypatch.setattr(
        StepsCollate,
        "__call__",
        lambda self, data: batches.append([key for key, _ in data]) or real(self, data),
    )
    return batches
