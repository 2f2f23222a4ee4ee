//! The keys that verify tokens: fixed, or fetched when first needed, cached, and refreshed.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, DecodingKey};
use platform::{
    config::{ExposeSecret, SecretString, Variable},
    http_client, secrets,
};
use tokio::sync::Mutex;
use url::Url;

use super::jwks::{self, PublicKey};

/// The age of a key set if its provider gives none, and the bounds for one that it gives. A withdrawn
/// key holds no longer than the maximum while the provider answers. The minimum limits the requests.
const SET_AGE: Duration = Duration::from_hours(4);
const SET_AGE_MIN: Duration = Duration::from_mins(5);
const SET_AGE_MAX: Duration = Duration::from_hours(6);
/// The age of a secret.
const SECRET_AGE: Duration = Duration::from_mins(5);
/// The shortest interval between fetches for an unknown `kid`, since any caller can invent one.
const UNKNOWN_INTERVAL: Duration = Duration::from_mins(1);
/// The back-off after a failed fetch while there are old keys.
const FAILURE_BACKOFF: Duration = Duration::from_mins(1);
/// The back-off while there are no keys yet: the same as `Retry-After`.
const COLD_BACKOFF: Duration = Duration::from_secs(1);

/// There are no keys, and they can't be fetched at the moment.
#[derive(Debug)]
pub(super) struct NoKeys;

/// The source of keys.
pub(super) enum Keys {
    /// Read at the start.
    Fixed(Arc<KeySet>),
    /// Fetched when needed.
    Fetched(Box<Remote>),
}

impl Keys {
    /// The keys, with the one that a token names as `kid` if it can be fetched.
    pub(super) async fn for_kid(&self, kid: Option<&str>) -> Result<Arc<KeySet>, NoKeys> {
        match self {
            Self::Fixed(keys) => Ok(Arc::clone(keys)),
            Self::Fetched(remote) => remote.for_kid(kid).await,
        }
    }

    /// Whether both are the same shared secret, as far as is known without fetching it.
    pub(super) fn are_those_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(own), Self::Fixed(other)) => match (&**own, &**other) {
                (KeySet::Shared(own), KeySet::Shared(other)) => {
                    own.try_get_as_bytes().ok() == other.try_get_as_bytes().ok()
                }
                _ => false,
            },
            (Self::Fetched(own), Self::Fetched(other)) => {
                own.origin.place() == other.origin.place()
            }
            _ => false,
        }
    }
}

/// Keys of one kind.
pub(super) enum KeySet {
    /// One secret that both sides know, for any `kid`.
    Shared(DecodingKey),
    /// A provider's public keys.
    Public(Vec<PublicKey>),
}

impl KeySet {
    pub(super) fn shared(secret: &SecretString) -> Self {
        Self::Shared(DecodingKey::from_secret(secret.expose_secret().as_bytes()))
    }

    /// The keys that may have signed a token with this `kid`. For a token without `kid`, the only key of
    /// the set.
    pub(super) fn candidates<'a>(&'a self, kid: Option<&'a str>) -> Vec<&'a DecodingKey> {
        match (self, kid) {
            (Self::Shared(key), _) => vec![key],
            (Self::Public(keys), Some(_)) => {
                keys.iter().filter(|key| key.kid.as_deref() == kid).map(|key| &key.key).collect()
            }
            (Self::Public(keys), None) => match keys.as_slice() {
                [only] => vec![&only.key],
                _ => Vec::new(),
            },
        }
    }

    /// Whether a newer set may have the key that this one lacks.
    fn may_have_missed(&self, kid: Option<&str>) -> bool {
        match self {
            Self::Shared(_) => false,
            // Several keys and no `kid` is the token's fault.
            Self::Public(keys) => {
                self.candidates(kid).is_empty() && (kid.is_some() || keys.is_empty())
            }
        }
    }
}

/// Keys that are fetched and cached.
pub(super) struct Remote {
    origin: Origin,
    held: RwLock<Held>,
    /// Held during a fetch: one runs at a time.
    flight: Mutex<()>,
}

/// The place that keys are fetched from.
pub(super) enum Origin {
    /// A set of public keys, for tokens signed with this algorithm.
    Jwks { variable: Variable, url: Url, algorithm: Algorithm },
    /// A secret in AWS Secrets Manager.
    SecretsManager { variable: Variable, arn: String },
}

impl Remote {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, held: RwLock::new(Held::nothing()), flight: Mutex::new(()) }
    }

    async fn for_kid(&self, kid: Option<&str>) -> Result<Arc<KeySet>, NoKeys> {
        let keys = self.current().await?;
        Ok(if keys.may_have_missed(kid) { self.newer_than(keys).await } else { keys })
    }

    async fn current(&self) -> Result<Arc<KeySet>, NoKeys> {
        let (keys, is_due) = self.look();
        match keys {
            Some(keys) if !is_due => Ok(keys),
            // One request fetches; the others use the old keys.
            Some(keys) => match self.flight.try_lock() {
                Ok(_flight) if self.look().1 => Ok(self.fetch().await.unwrap_or(keys)),
                Ok(_) => Ok(self.look().0.unwrap_or(keys)),
                Err(_) => Ok(keys),
            },
            None => {
                let _flight = self.flight.lock().await;
                match self.look() {
                    (Some(keys), _) => Ok(keys),
                    (None, true) => self.fetch().await.ok_or(NoKeys),
                    (None, false) => Err(NoKeys),
                }
            }
        }
    }

    /// Newer keys than `seen`, which lacked one; `seen` itself if it is too early to fetch again.
    async fn newer_than(&self, seen: Arc<KeySet>) -> Arc<KeySet> {
        let _flight = self.flight.lock().await;
        match self.look().0 {
            // Another request has fetched them meanwhile.
            Some(keys) if !Arc::ptr_eq(&keys, &seen) => keys,
            _ if self.write().may_fetch_for_unknown(SystemTime::now()) => {
                self.fetch().await.unwrap_or(seen)
            }
            _ => seen,
        }
    }

    /// Fetches and caches the keys. Needs [`Self::flight`].
    async fn fetch(&self) -> Option<Arc<KeySet>> {
        match self.origin.fetch().await {
            Ok((keys, age)) => {
                let keys = Arc::new(keys);
                self.write().fetched(Arc::clone(&keys), age, SystemTime::now());
                Some(keys)
            }
            Err(error) => {
                tracing::warn!(source = self.origin.variable(), %error, "can't fetch keys");
                self.write().failed(SystemTime::now());
                None
            }
        }
    }

    /// The cached keys, and whether a fetch is due.
    fn look(&self) -> (Option<Arc<KeySet>>, bool) {
        let held = self.read();
        (held.keys.clone(), has_come(held.due, SET_AGE_MAX, SystemTime::now()))
    }

    // No code panics while it holds either lock, so a poisoned one holds whole data.

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `due` is past. A time further ahead than `longest` was set by a clock that has been
/// corrected since.
fn has_come(due: SystemTime, longest: Duration, now: SystemTime) -> bool {
    now >= due || due > now + longest
}

/// The cached keys and when to fetch again, by the wall clock: the monotonic one may stand still while
/// an environment is frozen.
struct Held {
    keys: Option<Arc<KeySet>>,
    due: SystemTime,
    unknown_due: SystemTime,
}

impl Held {
    const fn nothing() -> Self {
        Self { keys: None, due: SystemTime::UNIX_EPOCH, unknown_due: SystemTime::UNIX_EPOCH }
    }

    fn fetched(&mut self, keys: Arc<KeySet>, age: Duration, now: SystemTime) {
        self.keys = Some(keys);
        self.due = now + age;
    }

    fn failed(&mut self, now: SystemTime) {
        let backoff = if self.keys.is_some() { FAILURE_BACKOFF } else { COLD_BACKOFF };
        self.due = self.due.max(now + backoff);
    }

    /// Whether an unknown `kid` may cause a fetch now. If so, counts as one.
    fn may_fetch_for_unknown(&mut self, now: SystemTime) -> bool {
        let may = has_come(self.unknown_due, UNKNOWN_INTERVAL, now);
        if may {
            self.unknown_due = now + UNKNOWN_INTERVAL;
        }
        may
    }
}

impl Origin {
    const fn variable(&self) -> &'static str {
        match self {
            Self::Jwks { variable, .. } | Self::SecretsManager { variable, .. } => variable.name,
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Jwks { url, .. } => url.to_string(),
            Self::SecretsManager { arn, .. } => arn.clone(),
        }
    }

    /// The keys and their age limit, or why there are none.
    async fn fetch(&self) -> Result<(KeySet, Duration), String> {
        match self {
            Self::Jwks { url, algorithm, .. } => {
                let accept = "application/jwk-set+json, application/json";
                let answer =
                    http_client::get(url, accept).await.map_err(|error| error.to_string())?;
                // A set without a usable key is accepted too: that is how all keys are withdrawn.
                let keys =
                    jwks::parse(&answer.body, *algorithm).ok_or("the answer is not a key set")?;
                if keys.is_empty() {
                    tracing::warn!(source = self.variable(), "no key in the set can be used");
                }
                let age = answer.max_age.unwrap_or(SET_AGE).clamp(SET_AGE_MIN, SET_AGE_MAX);
                Ok((KeySet::Public(keys), age))
            }
            Self::SecretsManager { variable, arn } => {
                let secret =
                    secrets::read(arn).await.map_err(|error| format!("the secret {error}"))?;
                let secret = variable.secret(secret).map_err(|_| "the secret is too short")?;
                Ok((KeySet::shared(&secret), SECRET_AGE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn public(kids: &[Option<&str>]) -> KeySet {
        let key = |kid: Option<&str>| PublicKey {
            kid: kid.map(str::to_owned),
            key: DecodingKey::from_secret(b"stands for any"),
        };
        KeySet::Public(kids.iter().copied().map(key).collect())
    }

    #[test]
    fn a_failure_keeps_the_old_keys_and_backs_off() {
        let mut held = Held::nothing();
        assert!(at(0) >= held.due);
        held.failed(at(0));
        assert_eq!(held.due, at(1), "a caller waits");
        held.fetched(Arc::new(public(&[])), SET_AGE, at(1));
        assert_eq!(held.due, at(1) + SET_AGE);
        // Fetched early, for an unknown key: the old keys stay valid as long as before.
        held.failed(at(2));
        assert_eq!(held.due, at(1) + SET_AGE);
        let late = at(1) + SET_AGE;
        held.failed(late);
        assert_eq!(held.due, late + FAILURE_BACKOFF);
        assert!(held.keys.is_some());
    }

    #[test]
    fn unknown_keys_cause_one_fetch_a_minute() {
        let mut held = Held::nothing();
        let fetched = |held: &mut Held, seconds| held.may_fetch_for_unknown(at(seconds));
        assert!(fetched(&mut held, 0));
        assert!(!(1..60).any(|second| fetched(&mut held, second)));
        assert!(fetched(&mut held, 60));
        assert!(!fetched(&mut held, 119));
        // The clock was ahead by a day and has been corrected.
        assert!(fetched(&mut held, 86_400));
        assert!(fetched(&mut held, 200));
        assert!(!fetched(&mut held, 259));
    }

    #[test]
    fn a_token_without_a_kid_needs_a_set_of_one_key() {
        let count = |keys: &KeySet, kid| keys.candidates(kid).len();
        let one = public(&[Some("a")]);
        let two = public(&[Some("a"), Some("b")]);
        let twins = public(&[Some("a"), Some("a"), None]);
        assert_eq!([count(&one, None), count(&two, None), count(&public(&[]), None)], [1, 0, 0]);
        assert_eq!([count(&two, Some("b")), count(&two, Some("c"))], [1, 0]);
        assert_eq!([count(&twins, Some("a")), count(&public(&[None]), Some("a"))], [2, 0]);
        assert_eq!(count(&public(&[None]), None), 1);

        assert!(two.may_have_missed(Some("c")) && public(&[]).may_have_missed(None));
        assert!(!two.may_have_missed(None) && !two.may_have_missed(Some("a")));
        let secret = KeySet::Shared(DecodingKey::from_secret(b"one"));
        assert_eq!([count(&secret, None), count(&secret, Some("any"))], [1, 1]);
        assert!(!secret.may_have_missed(Some("any")));
    }
}
