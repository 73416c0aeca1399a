//! Value of a limit's key for one request.

use std::{fmt, net::IpAddr};

use smallvec::SmallVec;
use tollgate::tower::HeaderKey;

use super::{
    client_id::{ClientId, KeyPart, PartValue},
    client_identifier::{ClientIdentifier, IdentifyError},
    limit_request::LimitRequest,
};
use crate::values::{KeySource, LimitKey};

/// Value of the key `global`.
const GLOBAL: &str = "global";

/// Key of a limit: parts that count together.
#[derive(Debug)]
pub(crate) struct KeyReader {
    /// The alternatives of each part.
    parts: Vec<Vec<Source>>,
    ignores_case: bool,
}

#[derive(Debug)]
enum Source {
    Ip(Option<(u8, u8)>),
    Header(HeaderKey),
    Cookie(String),
    Query(String),
    Claim(String),
    Path,
    Segment(usize),
    Global,
}

/// Value of a key: a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyValue<'a> {
    parts: SmallVec<[KeyPart<'a>; 1]>,
    /// There is one part, with one alternative.
    is_single: bool,
}

/// Reason that a request has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoValue {
    Missing,
    ConflictingHeaders,
}

impl KeyReader {
    pub(crate) fn new(parts: &[LimitKey], ignores_case: bool) -> KeyReader {
        let source = |source: &KeySource| match source {
            KeySource::Ip(prefixes) => Source::Ip(*prefixes),
            KeySource::Header(name) => Source::Header(HeaderKey::new(name.clone())),
            KeySource::Cookie(name) => Source::Cookie(name.clone()),
            KeySource::Query(name) => Source::Query(name.clone()),
            KeySource::Claim(name) => Source::Claim(name.clone()),
            KeySource::Path => Source::Path,
            KeySource::Segment(number) => Source::Segment(*number),
            KeySource::Global => Source::Global,
        };
        let parts = parts
            .iter()
            .map(|key| key.sources().iter().map(source).collect());
        KeyReader {
            parts: parts.collect(),
            ignores_case,
        }
    }

    /// Returns true if the readings of one path may have several values.
    pub(crate) fn depends_on_path(&self) -> bool {
        let is_of_path = |source: &Source| matches!(source, Source::Path | Source::Segment(_));
        self.parts.iter().flatten().any(is_of_path)
    }

    /// Returns the value for one reading of the path.
    pub(crate) fn value<'a>(
        &self,
        request: &LimitRequest<'a, '_>,
        reading: usize,
        clients: &ClientIdentifier,
    ) -> Result<KeyValue<'a>, NoValue> {
        let mut parts = SmallVec::new();
        for alternatives in &self.parts {
            let mut found = None;
            for (number, source) in alternatives.iter().enumerate() {
                if let Some(value) = self.read(source, request, reading, clients)? {
                    // There are at most four.
                    let alternative = number as u8;
                    found = Some(KeyPart { alternative, value });
                    break;
                }
            }
            parts.push(found.ok_or(NoValue::Missing)?);
        }
        let is_single = matches!(&*self.parts, [alternatives] if alternatives.len() == 1);
        Ok(KeyValue { parts, is_single })
    }

    /// Returns the value that a text stands for, when the key is of one part without alternatives.
    ///
    /// # Errors
    /// The expected value.
    pub(crate) fn value_of<'a>(
        &self,
        text: &'a str,
        clients: &ClientIdentifier,
    ) -> Result<KeyValue<'a>, &'static str> {
        let [alternatives] = &*self.parts else {
            return Err("expected limits whose key has one part");
        };
        let [source] = &**alternatives else {
            return Err("expected limits whose key has no alternatives");
        };
        let value = match source {
            _ if text.is_empty() || text.len() > HeaderKey::MAX_LENGTH => {
                return Err("expected a string of 1 to 1024 bytes");
            }
            Source::Ip(prefixes) => {
                let address: IpAddr = text.parse().map_err(|_| "expected an IP address")?;
                let network = clients.limited_network(address.to_canonical(), *prefixes);
                PartValue::Network(network)
            }
            Source::Header(header) => {
                let value = header
                    .normalize(text)
                    .ok_or("expected a valid header value")?;
                PartValue::Text(value)
            }
            Source::Cookie(_)
            | Source::Query(_)
            | Source::Claim(_)
            | Source::Path
            | Source::Segment(_) => PartValue::Text(text.into()),
            Source::Global => PartValue::Text(GLOBAL.into()),
        };
        let part = KeyPart {
            alternative: 0,
            value,
        };
        Ok(KeyValue {
            parts: SmallVec::from([part]),
            is_single: true,
        })
    }

    fn read<'a>(
        &self,
        source: &Source,
        request: &LimitRequest<'a, '_>,
        reading: usize,
        clients: &ClientIdentifier,
    ) -> Result<Option<PartValue<'a>>, NoValue> {
        let text = match source {
            Source::Ip(prefixes) => {
                return match request.client {
                    Ok(address) => {
                        let network = clients.limited_network(address, *prefixes);
                        Ok(Some(PartValue::Network(network)))
                    }
                    // A client could otherwise choose another key.
                    Err(IdentifyError::ConflictingHeaders) => Err(NoValue::ConflictingHeaders),
                    Err(_) => Ok(None),
                };
            }
            Source::Header(header) => header.value(request.headers),
            Source::Cookie(name) => request.cookie(name),
            Source::Query(name) => request.query(name),
            Source::Claim(name) => request.claim(name).map(Into::into),
            Source::Path => Some(request.path(reading, self.ignores_case).into()),
            Source::Segment(number) => request
                .segment(reading, *number, self.ignores_case)
                .map(Into::into),
            Source::Global => Some(GLOBAL.into()),
        };
        Ok(text.map(PartValue::Text))
    }
}

impl KeyValue<'_> {
    pub(crate) fn as_client_id(&self) -> ClientId<'_> {
        match &*self.parts {
            [part] if self.is_single => match &part.value {
                PartValue::Network(network) => ClientId::Address {
                    address: *network,
                    network: *network,
                },
                PartValue::Text(text) => ClientId::Key(text),
            },
            parts => ClientId::Parts(parts),
        }
    }
}

impl fmt::Display for KeyValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(" and ")?;
            }
            match &part.value {
                PartValue::Network(network) => network.fmt(f)?,
                PartValue::Text(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}
