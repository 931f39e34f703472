"""Bounds that hold: exact for counts, at every look for proofs, and approximations, named as such, for means that are shown."""

import math
from bisect import bisect_left
from functools import lru_cache
from statistics import NormalDist

_STEPS = 10_000
"""Steps of the continued fraction at most; it takes about the square root of the larger parameter."""
_TINY = 1e-300
REMEMBERED = 1024
"""Bounds that are remembered of each kind: those of one world and the last few. A count that has grown never comes back, and each takes 300
bytes."""
MANY = 400
"""Degrees of freedom beyond which Student's t is taken for normal: up to 99.95 % its quantiles differ by less than a part in 130."""
USUAL = 4.0
"""Times that a share which is to be proven small is expected to be smaller than it may be: a proof is quickest there, and valid anywhere."""
SHRUNK = 2
"""Values that a dispersion is drawn towards 1 by."""


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method; DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1.0 / ((1 - (a + b) * x / (a + 1)) or _TINY)
    total, even = d, a
    for m in range(1, _STEPS):
        even += 2
        term = m * (b - m) * x / ((even - 1) * even)
        d = 1.0 / ((1 + term * d) or _TINY)
        c = (1 + term / c) or _TINY
        total *= c * d
        term = -(a + m) * (a + b + m) * x / (even * (even + 1))
        d = 1.0 / ((1 + term * d) or _TINY)
        c = (1 + term / c) or _TINY
        change = c * d
        total *= change
        if -1e-14 < change - 1 < 1e-14:
            break
    return front * total / a


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = p, by Newton's method inside a bracket that halves when a step would leave it."""
    low, high, x = 0.0, 1.0, _guess(p, a, b)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(80):
        off = beta_cdf(x, a, b) - p
        if off < 0:
            low = x
        else:
            high = x
        density = math.exp(scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = x - off / density if density > _TINY else low
        if not low < step < high:
            step = (low + high) / 2
        if abs(step - x) < 1e-13 * x or high - low < 1e-15:
            break
        x = step
    return x


def _guess(p: float, a: float, b: float) -> float:
    """Where the search for a quantile begins: the normal approximation of Abramowitz and Stegun (1964), 26.5.22; the mean below its range."""
    if min(a, b) <= 1 or not 0 < p < 1:
        return a / (a + b)
    z = -NormalDist().inv_cdf(p)
    left, right, curve = 1 / (2 * a - 1), 1 / (2 * b - 1), (z * z - 3) / 6
    h = 2 / (left + right)
    if h + curve <= 0:
        return a / (a + b)
    w = z * math.sqrt(h + curve) / h - (right - left) * (curve + 5 / 6 - 2 / (3 * h))
    return min(max(a / (a + b * math.exp(min(2 * w, 700))), 1e-12), 1 - 1e-12)


@lru_cache(maxsize=REMEMBERED)
def upper_share(k: int, n: int, confidence: float) -> float:
    """One-sided upper bound of a share seen k times in n (Clopper and Pearson, 1934); 1 when n is 0."""
    if n <= 0 or k >= n:
        return 1.0
    return beta_quantile(confidence, k + 1, n - k)


@lru_cache(maxsize=REMEMBERED)
def proven(k: int, n: int, share: float, confidence: float) -> bool:
    """Whether k in n prove that the share behind them is at most `share`, look as often as one may.

    The likelihood ratio of k in n against `share`, mixed over Beta(1, USUAL/share − 1), exceeds 1/(1 − confidence) with probability
    1 − confidence at most (Ville, 1939; Robbins, 1970), and above k/n it grows with the share that it is held against.
    """
    return k < n * share and _log_ratio(k, n, share) >= -math.log(1 - confidence)


def _log_ratio(k: int, n: int, share: float) -> float:
    other = USUAL / share - 1
    mixed = math.lgamma(1 + k) + math.lgamma(other + n - k) - math.lgamma(1 + other + n) + math.log(other)
    return mixed - k * math.log(share) - (n - k) * math.log1p(-share)


@lru_cache(maxsize=REMEMBERED)
def lower_share(k: int, n: int, confidence: float) -> float:
    """One-sided lower bound of a share seen k times in n (Clopper and Pearson, 1934); 0 when n is 0."""
    if n <= 0 or k <= 0:
        return 0.0
    return beta_quantile(1 - confidence, k, n - k + 1)


@lru_cache(maxsize=1024)
def needed(share: float, confidence: float) -> int:
    """Calls without one beyond the limit that prove P(beyond) <= share: the least n that is `proven` with k = 0."""
    most = 1
    while not proven(0, most, share, confidence):
        most *= 2
    return bisect_left(range(most), True, lo=most // 2, key=lambda n: proven(0, n, share, confidence))


@lru_cache(maxsize=REMEMBERED)
def bounded_mean(n: int, total: float, squares: float, confidence: float) -> tuple[float, float]:
    """Two-sided bounds of a mean in [0, 1] from n values, their sum and sum of squares.

    Exact when all values are 0 or 1 (Clopper and Pearson, 1934). Values between them vary less than such values with the same mean
    would: with d = s²/(m(1 − m)), a quasi-binomial dispersion (McCullagh and Nelder, 1989, section 4.5), n values are worth n/d of
    them; d is drawn towards 1 by the weight of SHRUNK values, for s² is an estimate itself. Checked by simulation: tests/bench/coverage.py.
    """
    tail = (1 - confidence) / 2
    worth, hits = float(n), total
    mean = total / n
    if abs(total - squares) > 1e-9 and 0 < mean < 1:
        if n < 2:
            return 0.0, 1.0
        variance = max(0.0, (squares - n * mean * mean) / (n - 1))
        dispersion = (n * min(1.0, variance / (mean * (1 - mean))) + SHRUNK) / (n + SHRUNK)
        worth = n / dispersion
        hits = mean * worth
    low = beta_quantile(tail, hits, worth - hits + 1) if hits > 1e-9 else 0.0
    high = beta_quantile(1 - tail, hits + 1, worth - hits) if worth - hits > 1e-9 else 1.0
    return low, high


@lru_cache(maxsize=REMEMBERED)
def always_above(n: float, total: float, delta: float) -> float:
    """A lower bound of the mean of values in [0, 1] that holds at every n at once with probability 1 − delta, look as often as one may.

    The likelihood ratio of 0/1 values against mean p, mixed over all alternatives with equal weight, is
    B(total + 1, n − total + 1) ÷ p^total (1 − p)^(n − total); it exceeds 1/delta with probability delta at most (Ville, 1939; Robbins, 1970). For
    values between 0 and 1 it still does, because the ratio is convex in each value.
    """
    if n <= 0 or total <= 0:
        return 0.0
    missed = max(n - total, 0.0)
    enough = math.lgamma(total + 1) + math.lgamma(missed + 1) - math.lgamma(n + 2) + math.log(delta)
    low, high = 0.0, total / n
    for _ in range(40):
        middle = (low + high) / 2
        at = total * math.log(middle) + (missed * math.log1p(-middle) if missed else 0.0) if middle > 0 else -math.inf
        if at < enough:
            low = middle
        else:
            high = middle
    return low


def always_under(n: float, total: float, delta: float) -> float:
    """The upper bound that goes with `always_above`: what the values lack to 1 has a lower one."""
    return 1.0 - always_above(n, n - total, delta)


def t_quantile(p: float, degrees: int) -> float:
    """Quantile of Student's t, through the incomplete beta function (DLMF 8.17); beyond MANY degrees that of the normal distribution."""
    return _t_quantile(p, min(degrees, MANY + 1))  # as calls add up, a number of them is never asked for again


@lru_cache(maxsize=4096)
def _t_quantile(p: float, degrees: int) -> float:
    if p < 0.5:
        return -_t_quantile(1 - p, degrees)
    if degrees > MANY:
        return NormalDist().inv_cdf(p)
    x = beta_quantile(2 * (1 - p), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x) if x > 0 else math.inf


def lognormal_mean(n: int, mean_log: float, variance_log: float, *, confidence: float) -> tuple[float, float]:
    """Two-sided bounds of the mean of a log-normal quantity from the mean and variance of n logarithms.

    Cox's method with Student's t (Olsson, 2005): exp(m + s²/2 ± t·sqrt(s²/n + s⁴/(2(n−1)))). Right for this family, wrong for others.
    """
    centre = mean_log + variance_log / 2
    half = t_quantile(1 - (1 - confidence) / 2, n - 1) * math.sqrt(variance_log / n + variance_log**2 / (2 * (n - 1)))
    return math.exp(min(centre - half, 700)), math.exp(min(centre + half, 700))


def skewed_mean(n: int, mean: float, variance: float, skewness: float, *, confidence: float) -> tuple[float, float]:
    """Two-sided bounds of the mean of a positive, skewed quantity from n values: their mean, variance and skewness.

    Student's t for the logarithm of the mean (delta method), its upper side longer by what the skewness g takes from the pivot: with
    r = s/mean, A = (g(2z² + 1)/6 − r z²/2)/√n, the first term of the Edgeworth expansion (Hall, 1992, section 3.10, here for log mean),
    held between 0 and 0.7 t, for a few values tell little of g. No family is supposed. Approximate; checked by simulation:
    tests/bench/coverage.py.
    """
    if n < 2 or mean <= 0:
        return 0.0, math.inf
    ratio, tail = math.sqrt(variance) / mean, 1 - (1 - confidence) / 2
    t, z = t_quantile(tail, n - 1), NormalDist().inv_cdf(tail)
    longer = (skewness * (2 * z * z + 1) / 6 - ratio * z * z / 2) / math.sqrt(n)
    step = ratio / math.sqrt(n)
    return mean * math.exp(-step * t), mean * math.exp(min(step * (t + min(max(longer, 0.0), 0.7 * t)), 700))
