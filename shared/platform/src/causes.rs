//! Walking an error's chain of causes.

use std::{error::Error, iter};

/// Iterates over `error` and its causes, the nearest first.
pub fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

/// Formats `error` and its causes as one line, for the log.
#[must_use]
pub fn line(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Iterates over those of `error` and its causes that have the type `E`.
pub fn find<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a E> {
    chain(error).filter_map(|error| error.downcast_ref())
}
