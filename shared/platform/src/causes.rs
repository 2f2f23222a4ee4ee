//! An error and its causes.

use std::{error::Error, iter};

/// `error`, then its causes, the nearest first.
pub fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

/// `error` and its causes in one line, for the log.
#[must_use]
pub fn line(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Those of `error` and its causes that are an `E`.
pub fn find<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a E> {
    chain(error).filter_map(|error| error.downcast_ref())
}
