//! Parsing of values from text and from JSON or TOML, with errors of the form
//! `expected X, got Y`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, value::MapAccessDeserializer},
};

/// A value that can be parsed from a flag, a file or a request body.
pub(crate) trait Value: Sized {
    /// Errors do not show the value of a secret.
    const SECRET: bool = false;

    /// Writes the allowed values: the text after "expected".
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result;

    fn from_integer(_number: u64) -> Option<Self> {
        None
    }

    fn from_float(_number: f64) -> Option<Self> {
        None
    }

    fn from_text(_text: &str) -> Option<Self> {
        None
    }
}

struct Expected<T>(PhantomData<T>);

impl<T: Value> fmt::Display for Expected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::expected(f)
    }
}

/// Parses a flag or an environment variable, where every value is text.
pub(crate) fn parse_argument<T: Value>(text: &str) -> Result<T, String> {
    let integer = || text.parse().ok().and_then(T::from_integer);
    let float = || text.parse().ok().and_then(T::from_float);
    T::from_text(text)
        .or_else(integer)
        .or_else(float)
        .ok_or_else(|| format!("expected {}", Expected::<T>(PhantomData)))
}

/// Parses an item of a list that commas separate. Spaces around it are ignored.
pub(crate) fn parse_list_item<T: Value>(text: &str) -> Result<T, String> {
    parse_argument(text.trim())
}

/// Deserializes a required key. For `deserialize_with`, as are the functions below.
pub(crate) fn required<'de, T: Value, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Parsed::deserialize(deserializer).map(|Parsed(value)| value)
}

/// Deserializes an optional key. `null` is an error, unlike a missing key.
pub(crate) fn optional<'de, T: Value, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    required(deserializer).map(Some)
}

/// Deserializes an optional list of values.
pub(crate) fn optional_list<'de, T: Value, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = deserializer.deserialize_any(ListVisitor(PhantomData))?;
    Ok(Some(list))
}

/// Deserializes an optional key whose value is one value or a list of values.
pub(crate) fn one_or_list<'de, T: Value, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = deserializer.deserialize_any(OneOrListVisitor(PhantomData))?;
    Ok(Some(list))
}

/// Deserializes an optional table.
pub(crate) fn optional_table<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Table::deserialize(deserializer).map(|Table(table)| Some(table))
}

/// Deserializes a list of tables.
pub(crate) fn tables<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let tables = Vec::deserialize(deserializer)?;
    Ok(tables.into_iter().map(|Table(table)| table).collect())
}

/// Deserializes an optional key of a type with its own `Deserialize`. `null` is an error, unlike a
/// missing key.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A [`Value`] as an element that serde can deserialize.
struct Parsed<T>(T);

impl<'de, T: Value> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ValueVisitor(PhantomData))
            .map(Parsed)
            .map_err(with_expected::<T, D::Error>)
    }
}

/// Adds the allowed values to serde_json's error for a number that no float holds: serde_json
/// returns that error before it calls the visitor.
fn with_expected<T: Value, E: de::Error>(error: E) -> E {
    const TOO_LARGE: &str = "number out of range";
    if error.to_string().starts_with(TOO_LARGE) {
        rejected::<T, E>(Unexpected::Other(TOO_LARGE))
    } else {
        error
    }
}

fn rejected<T: Value, E: de::Error>(got: Unexpected<'_>) -> E {
    E::custom(format_args!(
        "expected {}, got {got}",
        Expected::<T>(PhantomData)
    ))
}

struct ValueVisitor<T>(PhantomData<T>);

impl<'de, T: Value> de::Visitor<'de> for ValueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::expected(f)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_integer(number)
            .or_else(|| T::from_float(number as f64))
            .ok_or_else(|| rejected::<T, E>(Unexpected::Unsigned(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => T::from_float(number as f64)
                .ok_or_else(|| rejected::<T, E>(Unexpected::Signed(number))),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        T::from_float(number).ok_or_else(|| rejected::<T, E>(Unexpected::Float(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| rejected::<T, E>(shown::<T>(text)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        Err(rejected::<T, E>(Unexpected::Bool(value)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Err(rejected::<T, E>(Unexpected::Other("null")))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _list: A) -> Result<T, A::Error> {
        Err(rejected::<T, A::Error>(Unexpected::Other("a list")))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _table: A) -> Result<T, A::Error> {
        Err(rejected::<T, A::Error>(Unexpected::Other("a table")))
    }
}

/// Visitor of a list. A derived `Deserialize` would show a secret that stands in place of the list.
struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Value> de::Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(Parsed(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        Err(E::invalid_type(shown::<T>(text), &self))
    }
}

/// Visitor of one value or a list of values.
struct OneOrListVisitor<T>(PhantomData<T>);

impl<'de, T: Value> de::Visitor<'de> for OneOrListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::expected(f)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        ListVisitor(PhantomData).visit_seq(list)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        ValueVisitor(PhantomData)
            .visit_str(text)
            .map(|value| vec![value])
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<T>, E> {
        ValueVisitor(PhantomData)
            .visit_u64(number)
            .map(|value| vec![value])
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
        ValueVisitor(PhantomData)
            .visit_i64(number)
            .map(|value| vec![value])
    }
}

/// Returns the form of a text in errors.
fn shown<T: Value>(text: &str) -> Unexpected<'_> {
    if T::SECRET {
        Unexpected::Other("a value that is not shown")
    } else {
        Unexpected::Str(text)
    }
}

/// A table of keys and values. A derived `Deserialize` alone would accept a list as well.
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
