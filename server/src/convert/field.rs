//! Fields of a parsed file, with their paths for errors. Names are in any letter case, and numbers
//! may be texts.

use serde_json::Value;

/// Value of a field, and its path, such as `http.routers.a.rule`.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value,
}

impl<'a> Field<'a> {
    pub(crate) fn root(value: &'a Value) -> Field<'a> {
        Field {
            path: String::new(),
            value,
        }
    }

    /// Returns the field with this name, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Field<'a>> {
        let fields = self.value.as_object()?;
        let mut fields = fields.iter();
        let (given, value) = fields.find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        (!value.is_null()).then(|| self.inner(given, value))
    }

    /// Returns the field at the end of these names.
    pub(crate) fn at(&self, names: &[&str]) -> Option<Field<'a>> {
        let mut field = self.clone();
        for name in names {
            field = field.get(name)?;
        }
        Some(field)
    }

    fn inner(&self, name: &str, value: &'a Value) -> Field<'a> {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        Field { path, value }
    }

    /// Returns the fields of a table, with their names.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, Field<'a>)>, String> {
        let fields = self
            .value
            .as_object()
            .ok_or_else(|| self.expected("a table"))?;
        let fields = fields.iter();
        Ok(fields
            .map(|(name, value)| (name.as_str(), self.inner(name, value)))
            .collect())
    }

    /// Returns the items of a list.
    pub(crate) fn items(&self) -> Result<Vec<Field<'a>>, String> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.expected("a list"))?;
        let item = |(index, value)| Field {
            path: format!("{}[{index}]", self.path),
            value,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(crate) fn text(&self) -> Result<&'a str, String> {
        self.value.as_str().ok_or_else(|| self.expected("a text"))
    }

    /// Returns the texts of a list, or of one text with commas.
    pub(crate) fn texts(&self) -> Result<Vec<&'a str>, String> {
        match self.value {
            Value::String(text) => Ok(text.split(',').map(str::trim).collect()),
            _ => self.items()?.iter().map(Field::text).collect(),
        }
    }

    pub(crate) fn whole(&self) -> Result<u64, String> {
        let number = match self.value {
            Value::Number(number) => number.as_u64().or_else(|| {
                // 5.0 is a whole number in some serialisers.
                let text = number.to_string();
                text.strip_suffix(".0")?.parse().ok()
            }),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.expected("a whole number from 0"))
    }

    pub(crate) fn integer(&self) -> Result<i64, String> {
        let number = match self.value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.expected("a whole number"))
    }

    pub(crate) fn is_true(&self) -> Result<bool, String> {
        match self.value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Returns the error of a value of another kind.
    pub(crate) fn expected(&self, expected: &str) -> String {
        let got = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a table".to_owned(),
        };
        format!("{}: expected {expected}, got {got}", self.path)
    }
}
