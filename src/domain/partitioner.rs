//! Where the records of a key are: the partitioner of all our producers, `murmur2_random`, which is Java's default.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::record::NextOffset;

/// Returns the partitions in which records of a key can stand behind these positions of all partitions of a topic.
///
/// That is one, unless partitions were added meanwhile: a key that had its place among fewer has left records there.
/// A partition that holds, or held, something before its position was there before, and so were those below it.
pub fn homes(key: &[u8], positions: &BTreeMap<i32, NextOffset>) -> BTreeSet<i32> {
    let now = positions.len();
    let filled = positions.values().enumerate().filter(|(_, next)| next.0 > 0);
    let fewest = filled.map(|(at, _)| at + 1).max().unwrap_or(1);
    (fewest..=now).map(|partitions| home(key, partitions)).collect()
}

/// Returns the partition of a key among so many, at least 1.
pub fn home(key: &[u8], partitions: usize) -> i32 {
    // Java takes the absolute value by clearing the sign.
    let positive = (murmur2(key) & 0x7fff_ffff) as usize;
    i32::try_from(positive % partitions).expect("Kafka numbers partitions with 31 bits")
}

/// MurmurHash2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).expect("a key is smaller than 4 GiB");
    let mut hash = SEED ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_hashed_as_kafka_does() {
        // Of Kafka's own test, UtilsTest.testMurmur2.
        let check =
            |key: &str, hash: i32| assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        check("21", -973932308);
        check("foobar", -790332482);
        check("a-little-bit-long-string", -985981536);
        check("a-little-bit-longer-string", -1486304829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971);
        check("abc", 479470107);
    }

    fn positions(next: &[i64]) -> BTreeMap<i32, NextOffset> {
        next.iter().enumerate().map(|(at, next)| (at as i32, NextOffset(*next))).collect()
    }

    #[test]
    fn a_key_has_one_home_where_all_partitions_were_there_before() {
        for key in ["crm", "billing", "a", ""] {
            let homes = homes(key.as_bytes(), &positions(&[0, 5, 0, 0, 0, 9]));
            assert_eq!(homes, BTreeSet::from([home(key.as_bytes(), 6)]), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_found_whenever_partitions_were_added(key in ".{0,20}", earlier in 1..9_usize, added in 0..9_usize, filled: u16) {
            // Before the positions there were at most `earlier` partitions, some of them with records.
            let next: Vec<_> = (0..earlier + added)
                .map(|at| i64::from(at < earlier && filled >> at & 1 == 1))
                .collect();
            let homes = homes(key.as_bytes(), &positions(&next));
            for partitions in earlier..=earlier + added {
                prop_assert!(homes.contains(&home(key.as_bytes(), partitions)));
            }
        }
    }
}
