//! Splits bytes into parts: any bytes are valid, and seeds can be written by hand.

/// Separator of parts: a byte that no UTF-8 contains.
const BETWEEN: u8 = 0xff;

/// The first byte, or 0 if there is none, and the rest.
pub(crate) fn byte(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(&first, rest)| (first, rest))
}

/// The first `N` parts, the last one with all that follows; empty ones if there are fewer.
pub(crate) fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut parts = bytes.splitn(N, |&byte| byte == BETWEEN);
    [(); N].map(|()| parts.next().unwrap_or_default())
}

/// `bytes` with `edits` applied, three bytes each: kind, place, value.
pub(crate) fn edited(mut bytes: Vec<u8>, edits: &[u8]) -> Vec<u8> {
    for edit in edits.chunks_exact(3) {
        let (what, with) = (edit[0] % 4, edit[2]);
        let at = usize::from(edit[1]) % (bytes.len() + 1);
        match bytes.get_mut(at) {
            Some(byte) if what < 2 => *byte = with,
            Some(_) if what == 2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, with),
        }
    }
    bytes
}
