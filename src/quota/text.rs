//! Text form of quotas, such as `100/hour, capacity 20`: parsing and formatting.

use core::{fmt, str::FromStr};

use super::{DAY, HOUR, Kind, MAX_PERIOD_NANOS, MINUTE, Quota, QuotaError, SECOND, rate, units};

/// Units of a period: name without a count, name after a count, length in nanoseconds.
const UNITS: [(&str, &str, u64); 7] = [
    ("day", "d", DAY),
    ("hour", "h", HOUR),
    ("minute", "min", MINUTE),
    ("second", "s", SECOND),
    ("ms", "ms", 1_000_000),
    ("us", "us", 1_000),
    ("ns", "ns", 1),
];

/// Formats as `100/hour`, `1/36s` or `100 per 2h, all at once`, followed by `, capacity N` where it
/// differs from the default. [`Quota::from_str`] parses the result.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bare_name, counted_name, length) = UNITS
            .into_iter()
            .find(|(_, _, length)| self.period_nanos.is_multiple_of(*length))
            .unwrap_or(UNITS[6]);
        let separator = if self.is_interval() { " per " } else { "/" };
        write!(f, "{}{separator}", self.tokens)?;
        match self.period_nanos / length {
            1 => f.write_str(bare_name)?,
            count => write!(f, "{count}{counted_name}")?,
        }
        if self.is_interval() {
            f.write_str(", all at once")?;
        } else if u64::from(self.capacity) != self.tokens {
            write!(f, ", capacity {}", self.capacity)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}

/// Parses texts such as `5/s`, `0.5 per second`, `100/hour, capacity 20`, `1/36525d` and `100
/// per hour, all at once`, in any case.
///
/// The number before `/` or `per` may have decimals, which are exact. It may be followed by what is
/// counted, such as `r` or `requests`, or by a unit of bytes, for limiters whose costs are bytes:
/// `kB`, `MB` and `GB` are powers of 1000, `KiB`, `MiB` and `GiB` are powers of 1024.
///
/// A period is `h`, `2h` or `1h 30min`. Units are `ns`, `us`, `ms`, `s`, `min`, `h`, `d`, `week`,
/// `month` (30 days), `year` (365 days), their names and usual abbreviations, singular or plural.
///
/// The default capacity is the number itself, rounded up. `burst` is another word for `capacity`;
/// the commas between options are optional, as is `=` after their names.
///
/// ```
/// use tollgate::Quota;
///
/// assert_eq!("10r/s burst=20".parse(), Ok(Quota::per_second(10).with_capacity(20)));
/// assert_eq!("10MB/s".parse(), Ok(Quota::per_second(10_000_000)));
/// ```
impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Quota, QuotaError> {
        let mut input = Cursor::new(text);
        let (mantissa, decimals) = input.amount()?;
        if !input.take("/") && !input.take("per") {
            return Err(input.expected("'/' or 'per'"));
        }
        let period_nanos = input.period_nanos()?;
        let mut options = Options::default();
        while input.take(",") || input.next_is(u8::is_ascii_alphabetic) {
            options.read(&mut input)?;
        }
        input.end("',' or the end")?;
        options.quota(mantissa, decimals, period_nanos)
    }
}

#[derive(Default)]
struct Options {
    capacity: Option<u32>,
    /// Position after `all at once`, for the errors that concern it.
    at_once: Option<usize>,
}

impl Options {
    fn read(&mut self, input: &mut Cursor<'_>) -> Result<(), QuotaError> {
        if self.capacity.is_none() && (input.take("capacity") || input.take("burst")) {
            input.take("=");
            self.capacity = Some(input.tokens()?);
        } else if self.at_once.is_none()
            && input.take("all")
            && input.take("at")
            && input.take("once")
        {
            self.at_once = Some(input.at);
        } else {
            return Err(input.expected("'capacity N' (or 'burst N') or 'all at once', each once"));
        }
        Ok(())
    }

    fn quota(self, mantissa: u64, decimals: u32, period_nanos: u128) -> Result<Quota, QuotaError> {
        let quota = match self.at_once {
            Some(at) => {
                let window = u64::try_from(period_nanos).unwrap_or(u64::MAX);
                let syntax = |expected| QuotaError::Syntax { at, expected };
                let capacity = u32::try_from(mantissa).ok().filter(|_| decimals == 0);
                let capacity = capacity.ok_or(syntax(
                    "a whole number of tokens up to 4294967295 before 'all at once'",
                ))?;
                if self.capacity.is_some_and(|other| other != capacity) {
                    return Err(syntax("a capacity equal to the number of tokens"));
                }
                Quota::validated(capacity, u64::from(capacity), window, Kind::Interval)?
            }
            None => {
                let scale = 10_u128.pow(decimals);
                let whole = u128::from(mantissa).div_ceil(scale);
                let capacity = match self.capacity {
                    Some(capacity) => capacity,
                    None => u32::try_from(whole).map_err(|_| QuotaError::Syntax {
                        at: 0,
                        expected: "a capacity, since the default (the number of tokens) is above 4294967295",
                    })?,
                };
                let (tokens, nanos) = ratio(mantissa, decimals, period_nanos)?;
                Quota::validated(capacity, tokens, nanos, Kind::Greedy)?
            }
        };
        Ok(quota)
    }
}

/// Returns tokens and nanoseconds, unreduced unless there are decimals.
fn ratio(mantissa: u64, decimals: u32, period_nanos: u128) -> Result<(u64, u64), QuotaError> {
    if mantissa == 0 {
        return Err(QuotaError::ZeroTokens);
    }
    let tokens = u128::from(mantissa);
    let (tokens, nanos) = match decimals {
        0 => (tokens, period_nanos),
        // At most 2⁶⁴ days, times 10¹⁸: this can exceed 128 bits, so it is checked.
        _ => match period_nanos.checked_mul(10_u128.pow(decimals)) {
            Some(nanos) => rate::reduced(tokens, nanos),
            None => (tokens, u128::MAX),
        },
    };
    match (u64::try_from(tokens), u64::try_from(nanos)) {
        (Ok(tokens), Ok(nanos)) if nanos <= MAX_PERIOD_NANOS => Ok((tokens, nanos)),
        // Too long for a quota, which refuses it with the value.
        (_, nanos) if decimals == 0 => Ok((1, nanos.unwrap_or(u64::MAX))),
        _ => Err(QuotaError::Syntax {
            at: 0,
            expected: "fewer decimals, or a ratio such as 1/3s: the exact period would be longer than a century",
        }),
    }
}

/// Cursor over the text of a quota; skips whitespace between words.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    fn expected(&self, expected: &'static str) -> QuotaError {
        QuotaError::Syntax {
            at: self.at,
            expected,
        }
    }

    fn peek(&mut self) -> Option<u8> {
        while self
            .text
            .as_bytes()
            .get(self.at)
            .is_some_and(u8::is_ascii_whitespace)
        {
            self.at += 1;
        }
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips `word`, in any case, if it is next.
    fn take(&mut self, word: &str) -> bool {
        self.peek();
        let next = self.text.as_bytes()[self.at..].get(..word.len());
        let found = next.is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Returns true if the next byte is one of these.
    fn next_is(&mut self, is_one: impl Fn(&u8) -> bool) -> bool {
        self.peek().is_some_and(|byte| is_one(&byte))
    }

    /// Skips the letters that are next and returns them.
    fn word(&mut self) -> &'a str {
        self.peek();
        let start = self.at;
        let letters = self.text.as_bytes()[start..].iter();
        self.at += letters
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        &self.text[start..self.at]
    }

    /// Skips the unit of a number of tokens, if there is one, and returns its value in tokens.
    fn counted(&mut self) -> u64 {
        self.peek();
        let start = self.at;
        units::counted(self.word()).unwrap_or_else(|| {
            self.at = start;
            1
        })
    }

    /// Parses the number of tokens per period and its unit; returns all digits as one integer, and
    /// the number of decimals.
    fn amount(&mut self) -> Result<(u64, u32), QuotaError> {
        let start = self.at;
        let (mantissa, decimals) = self.decimal()?;
        let product = mantissa.checked_mul(self.counted());
        let (mut mantissa, mut decimals) = (
            product.ok_or(QuotaError::Syntax {
                at: start,
                expected: "at most 18446744073709551615 tokens",
            })?,
            decimals,
        );
        // 1.5MB are a whole number of tokens.
        while decimals > 0 && mantissa.is_multiple_of(10) {
            (mantissa, decimals) = (mantissa / 10, decimals - 1);
        }
        Ok((mantissa, decimals))
    }

    /// Parses a whole number of tokens and its unit.
    fn tokens(&mut self) -> Result<u32, QuotaError> {
        self.peek();
        let error = self.expected("a whole number in range");
        let number: u32 = self.integer()?;
        let product = u64::from(number).checked_mul(self.counted());
        product
            .and_then(|tokens| u32::try_from(tokens).ok())
            .ok_or(error)
    }

    fn digits(&mut self) -> &'a str {
        let start = self.at;
        while self
            .text
            .as_bytes()
            .get(self.at)
            .is_some_and(u8::is_ascii_digit)
        {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn integer<T: FromStr>(&mut self) -> Result<T, QuotaError> {
        self.peek();
        let error = self.expected("a whole number in range");
        self.digits().parse().map_err(|_| error)
    }

    /// Parses a decimal number; returns all digits as one integer, and the number of decimals.
    fn decimal(&mut self) -> Result<(u64, u32), QuotaError> {
        self.peek();
        let error = self.expected("a positive number of at most 18 digits");
        let (mut mantissa, mut digits, mut decimals) = (Some(0_u64), 0, 0);
        let mut add = |part: &str| {
            digits += part.len();
            for digit in part.bytes() {
                mantissa = mantissa.and_then(|mantissa| {
                    mantissa
                        .checked_mul(10)?
                        .checked_add(u64::from(digit - b'0'))
                });
            }
            digits
        };
        let whole = add(self.digits());
        if self.text.as_bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            decimals = add(self.digits()) - whole;
        }
        // A whole number may exceed 18 digits, since every formatted quota must parse; a number of
        // decimals may not.
        match (mantissa, u32::try_from(decimals)) {
            (Some(mantissa), Ok(decimals)) if digits > 0 && decimals <= 18 => {
                Ok((mantissa, decimals))
            }
            _ => Err(error),
        }
    }

    /// Parses a unit, or counts with units: `h`, `2h`, `1h 30min`.
    pub(super) fn period_nanos(&mut self) -> Result<u128, QuotaError> {
        if !self.next_is(u8::is_ascii_digit) {
            return Ok(u128::from(self.unit()?));
        }
        let mut nanos = 0_u128;
        while self.next_is(u8::is_ascii_digit) {
            let count: u64 = self.integer()?;
            nanos = nanos.saturating_add(u128::from(count) * u128::from(self.unit()?));
        }
        Ok(nanos)
    }

    /// Returns an error unless only whitespace is left.
    pub(super) fn end(&mut self, expected: &'static str) -> Result<(), QuotaError> {
        if self.peek().is_some() {
            Err(self.expected(expected))
        } else {
            Ok(())
        }
    }

    fn unit(&mut self) -> Result<u64, QuotaError> {
        self.peek();
        let start = self.at;
        units::nanos(self.word()).ok_or_else(|| {
            self.at = start;
            self.expected("a unit (ns, us, ms, s, min, h, d, week, month, year)")
        })
    }
}
