import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr
from scipy.stats import norm

from pipeline.agent.normal import cdf, density, log_cdf

POINTS = st.lists(st.floats(-1e4, 1e4) | st.floats(-40, 9), min_size=1).map(np.array)


@given(POINTS)
def test_its_probabilities_are_scipys(z: np.ndarray) -> None:
    np.testing.assert_allclose(cdf(z), ndtr(z), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(log_cdf(z), log_ndtr(z), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(density(z), norm.pdf(z), rtol=1e-12, atol=1e-300)


def test_any_shape_is_kept() -> None:
    z = np.array([[-30.0, 0.0], [-19.9, -20.1]])
    assert cdf(z).shape == log_cdf(z).shape == (2, 2)
    assert cdf(z)[0, 1] == 0.5
