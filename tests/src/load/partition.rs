//! How nats-server divides subjects: `{{partition(4,1)}}` of a subject mapping.

/// FNV-1a of 32 bits.
const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// The hash of a church's subject token.
pub fn hash(church: &str) -> u32 {
    church.bytes().fold(BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME))
}

/// The part that a church belongs to, from 0 to `parts - 1`.
pub fn part_of(church: &str, parts: u32) -> u32 {
    hash(church) % parts.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn churches_are_spread_evenly() {
        let mut parts = [0; 16];
        for number in 0..16_000 {
            parts[part_of(&format!("church-{number}"), 16) as usize] += 1;
        }
        assert!(parts.iter().all(|count| (900..1_100).contains(count)), "{parts:?}");
    }
}
