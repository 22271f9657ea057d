//! Arithmetic with shares of a whole, which are integers in units of 2^-60, and the few functions
//! of analysis that the model needs.

/// The share that is the whole.
pub(super) const ONE: u64 = 1 << 60;

/// 1 / e.
pub(super) const INVERSE_OF_E: u64 = 424_136_118_829_305_329;

/// Returns the product of two shares.
pub(super) fn mul(a: u64, b: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)) >> 60).unwrap_or(u64::MAX)
}

/// Returns a power of a share.
pub(super) fn power(base: u64, exponent: u32) -> u64 {
    let (mut result, mut square, mut left) = (ONE, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = mul(result, square);
        }
        square = mul(square, square);
        left >>= 1;
    }
    result
}

/// Returns e to the power of -`x`, which may be more than the whole.
pub(super) fn exp_minus(x: u128) -> u64 {
    let whole = u32::try_from(x >> 60).unwrap_or(u32::MAX);
    let fraction = u64::try_from(x & u128::from(ONE - 1)).unwrap_or(0);
    // The series of the exponential function; the 20th term is below 2^-60.
    let series = (1..=20).rev().fold(ONE, |sum, term| ONE - mul(fraction, sum) / term);
    mul(series, power(INVERSE_OF_E, whole))
}

/// Returns the natural logarithm of 1 / (1 - `x`), by the first 64 terms of its series.
pub(super) fn minus_log(x: u64) -> u128 {
    let mut power = ONE;
    (1..=64).fold(0, |sum, term| {
        power = mul(power, x);
        sum + u128::from(power / term)
    })
}

/// Returns the probability that fewer than `least` of `count` members answer, each of which is
/// silent with probability `silent`. `count` is at most 32.
pub(super) fn fewer(least: u64, count: u64, silent: u64) -> u64 {
    let mut ways: u128 = 1;
    let mut sum: u128 = 0;
    for answers in 0..least.min(count + 1) {
        let exponent = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let each =
            mul(power(ONE - silent, exponent(answers)), power(silent, exponent(count - answers)));
        sum += ways * u128::from(each);
        ways = ways * u128::from(count - answers) / u128::from(answers + 1);
    }
    u64::try_from(sum).unwrap_or(ONE).min(ONE)
}
