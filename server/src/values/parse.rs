//! Values as people type them, in flags and in files: each knows what is allowed, and its errors
//! say so.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, value::MapAccessDeserializer},
};

/// A value that can be read from what a person typed.
pub(crate) trait Value: Sized {
    /// Whether errors must not show it.
    const SECRET: bool = false;

    /// What is allowed, to follow "expected".
    fn allowed(f: &mut fmt::Formatter<'_>) -> fmt::Result;

    fn whole(_number: u64) -> Option<Self> {
        None
    }

    fn decimal(_number: f64) -> Option<Self> {
        None
    }

    fn text(_text: &str) -> Option<Self> {
        None
    }
}

struct Allowed<T>(PhantomData<T>);

impl<T: Value> fmt::Display for Allowed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::allowed(f)
    }
}

/// Reads a flag or an environment variable, where everything is text.
pub(crate) fn typed<T: Value>(text: &str) -> Result<T, String> {
    let whole = || text.parse().ok().and_then(T::whole);
    let decimal = || text.parse().ok().and_then(T::decimal);
    T::text(text)
        .or_else(whole)
        .or_else(decimal)
        .ok_or_else(|| format!("expected {}", Allowed::<T>(PhantomData)))
}

/// A [`Value`] in a file or a request.
#[derive(Clone, Debug)]
pub(crate) struct Typed<T>(pub(crate) T);

impl<'de, T: Value> Deserialize<'de> for Typed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(TypedVisitor(PhantomData))
            .map(Typed)
            .map_err(named::<T, D::Error>)
    }
}

/// The same error, with what is allowed: serde_json gives up on a number that no float holds before
/// anybody is asked.
fn named<T: Value, E: de::Error>(error: E) -> E {
    const TOO_LARGE: &str = "number out of range";
    let is_named = !error.to_string().starts_with(TOO_LARGE);
    if is_named {
        error
    } else {
        E::invalid_value(
            Unexpected::Other(TOO_LARGE),
            &TypedVisitor::<T>(PhantomData),
        )
    }
}

struct TypedVisitor<T>(PhantomData<T>);

impl<T: Value> de::Visitor<'_> for TypedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::allowed(f)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let value = T::whole(number).or_else(|| T::decimal(number as f64));
        value.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => T::decimal(number as f64)
                .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        T::decimal(number).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let shown = if T::SECRET {
            Unexpected::Other("a text that is not shown here")
        } else {
            Unexpected::Str(text)
        };
        T::text(text).ok_or_else(|| E::invalid_value(shown, &self))
    }
}

/// For optional keys: what is there must be good, and `null` is not the same as nothing.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A table of keys and nothing else: serde would take a list for one as well.
#[derive(Clone, Debug)]
pub(crate) struct Table<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(TableVisitor(PhantomData))
            .map(Table)
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for TableVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of keys and values")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
