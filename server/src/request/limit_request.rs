//! A request as limits see it: its methods, the readings of its path, and the values of keys.

use std::{borrow::Cow, cell::OnceCell, net::IpAddr};

use hyper::{HeaderMap, Method, header::COOKIE};
use percent_encoding::percent_decode_str;

use super::{
    client_identifier::IdentifyError,
    headers::bearer_token,
    jwt::{Claims, Jwt, TokenError},
    path::{Name, ParsedPath, PathError, fold_case},
    request_pattern::RequestPattern,
};

/// Maximum length of a value of a key in bytes, as of a header's.
const MAX_VALUE_LENGTH: usize = 1024;

/// Set of readings of a path, by their index.
pub(crate) type ReadingSet = u32;

/// Names of the segments of each reading of a path.
type Readings<N> = Vec<Reading<N>>;

type Reading<N> = Vec<Name<N>>;

/// A request as limits see it.
pub(crate) struct LimitRequest<'a, 'p> {
    /// The method, and those as which the upstream may serve the request.
    methods: Vec<&'p Method>,
    /// Names of the segments of each reading of the path.
    readings: Readings<&'p [u8]>,
    /// `readings` with folded letter case, if that makes a difference.
    folded: OnceCell<Option<Readings<Cow<'p, [u8]>>>>,
    /// All servers read the same path.
    is_canonical: bool,
    query: Option<&'a str>,
    /// `None`: no limit has a key of a token.
    jwt: Option<&'a Jwt>,
    /// Claims of the token, verified at first use. `None`: there is no token.
    claims: OnceCell<Option<Result<Claims, TokenError>>>,
    pub(crate) headers: &'a HeaderMap,
    /// Address of the client, or the reason that there is none.
    pub(crate) client: Result<IpAddr, IdentifyError>,
}

impl<'a, 'p> LimitRequest<'a, 'p> {
    /// Creates the view of a request. Without `paths`, no limit depends on the path.
    pub(crate) fn new(
        methods: Vec<&'p Method>,
        paths: &'p [ParsedPath<'p>],
        query: Option<&'a str>,
        headers: &'a HeaderMap,
        client: Result<IpAddr, IdentifyError>,
    ) -> Result<LimitRequest<'a, 'p>, PathError> {
        let mut readings: Readings<&[u8]> = Vec::new();
        for path in paths {
            for names in path.names()? {
                if !readings.contains(&names) {
                    readings.push(names);
                }
            }
        }
        if readings.is_empty() {
            readings.push(Vec::new());
        }
        // Two headers of a proxy name one path each.
        if readings.len() > ReadingSet::BITS as usize {
            return Err(PathError::Readings);
        }
        Ok(LimitRequest {
            methods,
            is_canonical: readings.len() == 1 && paths.iter().all(ParsedPath::is_canonical),
            readings,
            folded: OnceCell::new(),
            query,
            jwt: None,
            claims: OnceCell::new(),
            headers,
            client,
        })
    }

    /// Adds the verifier of tokens.
    pub(crate) fn with_jwt(self, jwt: Option<&'a Jwt>) -> LimitRequest<'a, 'p> {
        LimitRequest { jwt, ..self }
    }

    /// Returns the readings that a pattern describes, for one of the methods.
    pub(crate) fn matches(&self, pattern: &RequestPattern, ignores_case: bool) -> ReadingSet {
        let has_method = |method: &&Method| pattern.has_method(method.as_str());
        if self.methods.iter().any(has_method) {
            self.path_matches(pattern, ignores_case)
        } else {
            0
        }
    }

    /// Returns the readings whose path a pattern describes.
    pub(crate) fn path_matches(&self, pattern: &RequestPattern, ignores_case: bool) -> ReadingSet {
        let Some(path) = pattern.path() else {
            return self.all_readings();
        };
        let set = |matches: &mut dyn Iterator<Item = bool>| {
            matches.enumerate().fold(0, |set, (index, is_match)| {
                set | ReadingSet::from(is_match) << index
            })
        };
        match self.folded().filter(|_| ignores_case) {
            Some(folded) => set(&mut folded.iter().map(|names| path.matches(names))),
            None => set(&mut self.readings.iter().map(|names| path.matches(names))),
        }
    }

    pub(crate) fn all_readings(&self) -> ReadingSet {
        ReadingSet::MAX >> (ReadingSet::BITS as usize - self.readings.len())
    }

    pub(crate) fn methods(&self) -> impl Iterator<Item = &'p Method> + Clone {
        self.methods.iter().copied()
    }

    /// Returns true if all servers read the same path and the same method.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_canonical && self.methods.len() == 1
    }

    fn folded(&self) -> Option<&[Reading<Cow<'p, [u8]>>]> {
        let fold = || {
            let has_other_case = |name: &&[u8]| matches!(fold_case(name), Cow::Owned(_));
            let mut names = self.readings.iter().flatten().flat_map(Name::forms);
            names.any(has_other_case).then(|| {
                let fold = |name: &Name<&'p [u8]>| name.map(|name| fold_case(name));
                let folded = |names: &Vec<_>| names.iter().map(fold).collect();
                self.readings.iter().map(folded).collect()
            })
        };
        self.folded.get_or_init(fold).as_deref()
    }

    /// Returns the path in one reading, in the spelling that all spellings of it share.
    pub(crate) fn path(&self, reading: usize, ignores_case: bool) -> String {
        let mut path = String::new();
        let names = (0..).map_while(|number| self.name(reading, number, ignores_case));
        for name in names {
            path.push('/');
            path.push_str(&name);
        }
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// Returns the segment of the path with this number, from 1, in one reading.
    pub(crate) fn segment(
        &self,
        reading: usize,
        number: usize,
        ignores_case: bool,
    ) -> Option<String> {
        self.name(reading, number.checked_sub(1)?, ignores_case)
    }

    /// Returns the name with this number, from 0, of those that no server drops.
    fn name(&self, reading: usize, number: usize, ignores_case: bool) -> Option<String> {
        let names = self.readings.get(reading)?;
        let mut kept = (0..names.len()).filter(|&at| !names[at].is_optional);
        let at = kept.nth(number)?;
        let name = match self.folded().filter(|_| ignores_case) {
            Some(folded) => &*folded[reading][at].name,
            None => names[at].name,
        };
        // Bytes that are no text stay distinct.
        Some(match str::from_utf8(name) {
            Ok(name) => name.to_owned(),
            Err(_) => percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
                .to_string(),
        })
    }

    /// Returns the value of a cookie. `None`: it is missing, empty, too long, or there several times.
    pub(crate) fn cookie(&self, name: &str) -> Option<Cow<'a, str>> {
        self.cookie_of(name, MAX_VALUE_LENGTH)
    }

    fn cookie_of(&self, name: &str, max_length: usize) -> Option<Cow<'a, str>> {
        let fields = self.headers.get_all(COOKIE).iter();
        let pairs = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(';'));
        let values = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name).then(|| Cow::Borrowed(value.trim().trim_matches('"')))
        });
        single(values, max_length)
    }

    /// Returns a claim of the token, if it is valid.
    pub(crate) fn claim(&self, name: &str) -> Option<String> {
        let verify = || {
            let jwt = self.jwt?;
            match jwt.cookie() {
                Some(cookie) => Some(jwt.verify(&self.cookie_of(cookie, Jwt::MAX_LENGTH)?)),
                None => Some(jwt.verify(bearer_token(self.headers)?)),
            }
        };
        let claims = self.claims.get_or_init(verify).as_ref()?;
        claims.as_ref().ok()?.text(name)
    }

    /// Returns the error of the token, if the key of a limit needed one that does not count.
    pub(crate) fn token_error(&self) -> Option<TokenError> {
        self.claims.get()?.as_ref()?.as_ref().err().copied()
    }

    /// Returns the value of a parameter of the query. `None`: it is missing, empty, too long, or
    /// there several times.
    pub(crate) fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = self.query?.split(['&', ';']);
        let values = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key) == name).then(|| decoded(value))
        });
        single(values, MAX_VALUE_LENGTH)
    }
}

/// Decodes a name or a value of a query as forms are encoded.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy().into_owned();
    Cow::Owned(decoded)
}

/// Returns the only value, if it is valid.
fn single<'a>(
    mut values: impl Iterator<Item = Cow<'a, str>>,
    max_length: usize,
) -> Option<Cow<'a, str>> {
    let value = values.next()?;
    let is_valid = !value.is_empty() && value.len() <= max_length;
    (is_valid && values.next().is_none()).then_some(value)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::values::Value;

    fn with_request<T>(
        path: &str,
        query: Option<&str>,
        cookies: &[&str],
        test: impl FnOnce(&LimitRequest<'_, '_>) -> T,
    ) -> T {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        let paths = [ParsedPath::parse(path).unwrap()];
        let client = Err(IdentifyError::MissingKey);
        let request =
            LimitRequest::new(vec![&Method::GET], &paths, query, &headers, client).unwrap();
        test(&request)
    }

    #[test]
    fn cookies_count_once() {
        let cookie = |cookies: &[&str], name: &str| {
            with_request("/", None, cookies, |request| {
                request.cookie(name).map(Cow::into_owned)
            })
        };
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(cookie(&["a=1; b=2"], "b"), some("2"));
        assert_eq!(cookie(&["a=1", "b=\"2\""], "b"), some("2"));
        assert_eq!(cookie(&["a=1; b=2; b=3"], "b"), None);
        assert_eq!(cookie(&["b=2", "b=3"], "b"), None);
        assert_eq!(cookie(&["b="], "b"), None);
        assert_eq!(cookie(&["B=1; xb=2"], "b"), None);
        assert_eq!(cookie(&[&format!("b={}", "x".repeat(1025))], "b"), None);
    }

    #[test]
    fn parameters_of_a_query_are_decoded_and_count_once() {
        let query = |query: &str, name: &str| {
            with_request("/", Some(query), &[], |request| {
                request.query(name).map(Cow::into_owned)
            })
        };
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(query("a=1&b=2", "b"), some("2"));
        assert_eq!(query("%62=a+b%21", "b"), some("a b!"));
        assert_eq!(query("b=1&b=1", "b"), None);
        assert_eq!(query("b=1&%62=2", "b"), None);
        assert_eq!(query("b&a=1", "b"), None);
    }

    #[test]
    fn all_spellings_of_a_path_have_one_key() {
        for path in ["/a/B", "//a/B/", "/a/./B", "/%61/B", "/a/B;v=1"] {
            with_request(path, None, &[], |request| {
                assert_eq!(request.path(0, false), "/a/B", "{path}");
                assert_eq!(request.path(0, true), "/a/b", "{path}");
                assert_eq!(request.segment(0, 2, true).as_deref(), Some("b"));
                assert_eq!(request.segment(0, 3, true), None);
            });
        }
    }

    #[test]
    fn a_pattern_matches_some_readings() {
        let pattern = RequestPattern::from_text("GET /api/*").unwrap();
        let matching = |path: &str| {
            with_request(path, None, &[], |request| {
                let all = request.all_readings();
                let set = request.matches(&pattern, false);
                (set != 0, set == all, request.is_canonical)
            })
        };
        assert_eq!(matching("/api/a"), (true, true, true));
        assert_eq!(matching("/other"), (false, false, true));
        assert_eq!(matching("/API/a"), (false, false, true));
        assert_eq!(matching("/static/..%2fapi/a"), (true, false, false));
    }
}
