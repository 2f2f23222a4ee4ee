//! The keys that tokens are checked with: known from the start, or fetched when first needed, kept,
//! and fetched again now and then.

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

/// How long a set is kept whose provider says nothing, and the bounds for one that does: a key that
/// was withdrawn holds no longer than this while its provider answers, and a provider is not asked all
/// the time.
const SET_AGE: Duration = Duration::from_hours(4);
const SET_AGE_MIN: Duration = Duration::from_mins(5);
const SET_AGE_MAX: Duration = Duration::from_hours(6);
/// How long a secret is kept.
const SECRET_AGE: Duration = Duration::from_mins(5);
/// At most so often somebody's unknown key makes us ask again, since anybody can make one up.
const UNKNOWN_PAUSE: Duration = Duration::from_mins(1);
/// How long old keys go on after a failure before they are asked for again.
const FAILURE_PAUSE: Duration = Duration::from_mins(1);
/// The same where there are none yet: what `Retry-After` says.
const COLD_PAUSE: Duration = Duration::from_secs(1);

/// There are no keys, and they can't be had just now.
#[derive(Debug)]
pub(super) struct NoKeys;

/// Where keys come from.
pub(super) enum Keys {
    /// Known from the start.
    Fixed(Arc<KeySet>),
    /// Fetched.
    Fetched(Box<Remote>),
}

impl Keys {
    /// The keys, with the one that a token names as `kid` if there is any way to have it.
    pub(super) async fn for_kid(&self, kid: Option<&str>) -> Result<Arc<KeySet>, NoKeys> {
        match self {
            Self::Fixed(keys) => Ok(Arc::clone(keys)),
            Self::Fetched(remote) => remote.for_kid(kid).await,
        }
    }

    /// Whether these are the same shared secret, as far as is known without fetching it.
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
    /// One secret that both sides know, whatever a token calls it.
    Shared(DecodingKey),
    /// A provider's public keys.
    Public(Vec<PublicKey>),
}

impl KeySet {
    pub(super) fn shared(secret: &SecretString) -> Self {
        Self::Shared(DecodingKey::from_secret(secret.expose_secret().as_bytes()))
    }

    /// The keys that may have signed a token with this `kid`: those of that name; without a name
    /// the only one there is.
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

    /// Whether a newer set may have what this one lacks.
    fn may_have_missed(&self, kid: Option<&str>) -> bool {
        match self {
            Self::Shared(_) => false,
            // Several keys and no name is the token's fault.
            Self::Public(keys) => {
                self.candidates(kid).is_empty() && (kid.is_some() || keys.is_empty())
            }
        }
    }
}

/// Keys that are fetched.
pub(super) struct Remote {
    origin: Origin,
    held: RwLock<Held>,
    /// Whoever has it is fetching.
    flight: Mutex<()>,
}

/// From where.
pub(super) enum Origin {
    /// A set of public keys, for tokens signed with this algorithm.
    Jwks { variable: Variable, url: Url, algorithm: Algorithm },
    /// A secret of AWS Secrets Manager's.
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
            // One asks; the others go on with what there is.
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

    /// Newer keys than `seen`, which lacked one; `seen` itself when it is too early to ask again.
    async fn newer_than(&self, seen: Arc<KeySet>) -> Arc<KeySet> {
        let _flight = self.flight.lock().await;
        match self.look().0 {
            // Somebody has asked meanwhile.
            Some(keys) if !Arc::ptr_eq(&keys, &seen) => keys,
            _ if self.write().may_ask_for_unknown(SystemTime::now()) => {
                self.fetch().await.unwrap_or(seen)
            }
            _ => seen,
        }
    }

    /// Asks, and keeps what came. Only for whoever has [`Self::flight`].
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

    /// What is held, and whether to ask for it (again).
    fn look(&self) -> (Option<Arc<KeySet>>, bool) {
        let held = self.read();
        (held.keys.clone(), has_come(held.due, SET_AGE_MAX, SystemTime::now()))
    }

    // Nothing panics while it has either, so what a poisoned lock holds is whole.

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `due` is past. A time further ahead than anything is ever put off was set by a clock that
/// has been put right since.
fn has_come(due: SystemTime, longest: Duration, now: SystemTime) -> bool {
    now >= due || due > now + longest
}

/// What is held, and when to ask again. By the wall clock: the other one may stand still while an
/// environment is frozen.
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
        let pause = if self.keys.is_some() { FAILURE_PAUSE } else { COLD_PAUSE };
        self.due = self.due.max(now + pause);
    }

    /// Whether an unknown key may make us ask, which counts as having asked.
    fn may_ask_for_unknown(&mut self, now: SystemTime) -> bool {
        let may = has_come(self.unknown_due, UNKNOWN_PAUSE, now);
        if may {
            self.unknown_due = now + UNKNOWN_PAUSE;
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

    /// The keys, and how long to keep them; or why there are none.
    async fn fetch(&self) -> Result<(KeySet, Duration), String> {
        match self {
            Self::Jwks { url, algorithm, .. } => {
                let accept = "application/jwk-set+json, application/json";
                let answer =
                    http_client::get(url, accept).await.map_err(|error| error.to_string())?;
                // A set without a key that fits is believed too: that is how all are withdrawn.
                let keys =
                    jwks::parse(&answer.body, *algorithm).ok_or("the answer is no set of keys")?;
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
    fn a_failure_keeps_what_there_is_and_waits() {
        let mut held = Held::nothing();
        assert!(at(0) >= held.due);
        held.failed(at(0));
        assert_eq!(held.due, at(1), "somebody waits");
        held.fetched(Arc::new(public(&[])), SET_AGE, at(1));
        assert_eq!(held.due, at(1) + SET_AGE);
        // Asked early, for an unknown key: what there is holds as long as it would have.
        held.failed(at(2));
        assert_eq!(held.due, at(1) + SET_AGE);
        let late = at(1) + SET_AGE;
        held.failed(late);
        assert_eq!(held.due, late + FAILURE_PAUSE);
        assert!(held.keys.is_some());
    }

    #[test]
    fn unknown_keys_are_asked_for_once_a_minute() {
        let mut held = Held::nothing();
        let asked = |held: &mut Held, seconds| held.may_ask_for_unknown(at(seconds));
        assert!(asked(&mut held, 0));
        assert!(!(1..60).any(|second| asked(&mut held, second)));
        assert!(asked(&mut held, 60));
        assert!(!asked(&mut held, 119));
        // The clock was ahead by a day, and is put right.
        assert!(asked(&mut held, 86_400));
        assert!(asked(&mut held, 200));
        assert!(!asked(&mut held, 259));
    }

    #[test]
    fn a_token_without_a_name_needs_a_set_of_one() {
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
