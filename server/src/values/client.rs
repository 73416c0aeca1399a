//! Source of client identities: the key `client` and its flag. The settings of the headers that name
//! clients.

use std::{collections::HashSet, fmt};

use hyper::header::HeaderName;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use tollgate::tower::HeaderKey;

use super::{
    http::is_same_variable,
    parse::{Value, required},
    secret::Secret,
};

/// Source of a client's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Ip,
    Header(HeaderName),
}

/// Headers that the gateway writes itself.
const WRITTEN: [&str; 5] = [
    "forwarded",
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

impl Client {
    /// Returns the canonical spelling of a client id. An invalid one is returned as it is.
    pub(crate) fn canonical(&self, client_id: String) -> String {
        match self {
            Client::Ip => client_id,
            Client::Header(header) => HeaderKey::new(header.clone())
                .normalize(&client_id)
                .map_or_else(|| client_id.clone(), |key| key.into_owned()),
        }
    }

    /// Validates the keys of the list `api_keys`.
    pub(crate) fn api_keys(
        &self,
        given: Option<Vec<Secret>>,
    ) -> Result<Option<HashSet<String>>, String> {
        let Some(given) = given else { return Ok(None) };
        let Client::Header(header) = self else {
            return Err(
                "api_keys: expected client = { header = \"X-API-Key\" } beside it, got client = \"ip\""
                    .to_owned(),
            );
        };
        let header = HeaderKey::new(header.clone());
        let key = |(index, key): (usize, Secret)| {
            header
                .normalize(key.as_str())
                .map(|key| key.into_owned())
                .ok_or_else(|| {
                    format!(
                        "api_keys[{index}]: expected a scheme and one word, in canonical base64 for Basic, got a value that is not shown"
                    )
                })
        };
        given
            .into_iter()
            .enumerate()
            .map(key)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Validates the list `gateway.pass_headers`. A header that the upstream reads as one that this
    /// server decides by, or writes, cannot pass. `others` are those besides the client's key.
    pub(crate) fn pass_headers(
        &self,
        others: &[&HeaderName],
        given: Vec<HeaderName>,
    ) -> Result<Vec<HeaderName>, String> {
        let key = match self {
            Client::Ip => None,
            Client::Header(header) => Some(header.as_str()),
        };
        let own = || {
            WRITTEN
                .into_iter()
                .chain(key)
                .chain(others.iter().map(|name| name.as_str()))
        };
        match given
            .iter()
            .position(|name| own().any(|own| is_same_variable(own, name.as_str())))
        {
            None => Ok(given),
            Some(index) => Err(format!(
                "gateway.pass_headers[{index}]: expected a header that Tollgate neither writes nor identifies clients by, got {}",
                given[index]
            )),
        }
    }
}

impl Value for Client {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ip or header:X-API-Key")
    }

    fn from_text(text: &str) -> Option<Client> {
        match text.split_once(':') {
            None => (text == "ip").then_some(Client::Ip),
            Some(("header", name)) => HeaderName::from_text(name).map(Client::Header),
            Some(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Client, D::Error> {
        deserializer.deserialize_any(ClientVisitor)
    }
}

struct ClientVisitor;

impl<'de> de::Visitor<'de> for ClientVisitor {
    type Value = Client;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"ip\", \"header:X-API-Key\" or { header = \"X-API-Key\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Client, E> {
        Client::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Client, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ByHeader {
            #[serde(deserialize_with = "required")]
            header: HeaderName,
        }
        ByHeader::deserialize(MapAccessDeserializer::new(map)).map(|by| Client::Header(by.header))
    }
}
