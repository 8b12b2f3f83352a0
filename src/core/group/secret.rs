//! Secrets: what is drawn so that nobody can guess it, and what is proved with it.

use std::fmt;

use ring::hmac;

use crate::wire::Refuses;

/// Hexadecimal digits of a challenge.
const CHALLENGE_DIGITS: usize = 32;

/// A source of what nobody can guess, from 32 bytes that the shell took from the operating system. The seed of the node is for
/// jitter; this is for keys and challenges. Same bytes, same draws.
#[derive(Clone)]
pub(crate) struct Entropy {
    key: [u8; 32],
    drawn: u64,
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Entropy {
    /// The source of these bytes.
    pub(crate) fn new(key: [u8; 32]) -> Entropy {
        Entropy { key, drawn: 0 }
    }

    /// 64 hexadecimal digits: a key of a group.
    pub(crate) fn key(&mut self) -> String {
        hex(&self.draw())
    }

    /// 32 hexadecimal digits: a challenge.
    pub(crate) fn challenge(&mut self) -> String {
        self.key()[..CHALLENGE_DIGITS].to_owned()
    }

    /// A uuid of version 4.
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.draw()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    fn draw(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.key), &self.drawn.to_be_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }
}

/// Which of the two ends of a connection proves: what one end says is never what the other has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Who dialled.
    Dialler,
    /// Who accepted; it may refuse the other all the same.
    Accepter {
        /// Why.
        refuses: Option<Refuses>,
    },
}

/// What is proved: that `end` of a connection knows the key, and means this group, these two members and these challenges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) end: End,
    pub(super) group_id: &'a str,
    /// The dialler, as it named itself.
    pub(super) dialler: &'a str,
    /// The accepter, as it named itself.
    pub(super) accepter: &'a str,
    /// The challenge of the dialler.
    pub(super) asked: &'a str,
    /// The challenge of the accepter.
    pub(super) countered: &'a str,
}

impl Claim<'_> {
    /// The proof: 64 hexadecimal digits.
    pub(super) fn prove(&self, key: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hex(hmac::sign(&key, &self.text()).as_ref())
    }

    /// Whether `proof` is right, compared in constant time.
    pub(super) fn holds(&self, key: &str, proof: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        bytes_of(proof).is_some_and(|proof| hmac::verify(&key, &self.text(), &proof).is_ok())
    }

    /// What is signed. No part holds a zero byte, so that no two claims have one text.
    fn text(&self) -> Vec<u8> {
        let end = match self.end {
            End::Dialler => "dialler",
            End::Accepter { refuses: None } => "accepter",
            End::Accepter { refuses: Some(refuses) } => refuses.as_str(),
        };
        let parts = ["mutirao group", end, self.group_id, self.dialler, self.accepter, self.asked, self.countered];
        parts.join("\0").into_bytes()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim<'_> =
        Claim { end: End::Dialler, group_id: "g", dialler: "a/1", accepter: "b/2", asked: "00", countered: "11" };

    #[test]
    fn a_proof_holds_for_its_claim_and_key_and_for_nothing_else() {
        let proof = CLAIM.prove("key");
        assert!(CLAIM.holds("key", &proof));
        assert!(!CLAIM.holds("other", &proof));
        assert!(!CLAIM.holds("key", &proof[2..]));
        assert!(!CLAIM.holds("key", "not hexadecimal"));
        let others = [
            Claim { end: End::Accepter { refuses: None }, ..CLAIM },
            Claim { end: End::Accepter { refuses: Some(Refuses::Gone) }, ..CLAIM },
            Claim { group_id: "h", ..CLAIM },
            Claim { dialler: "a/2", ..CLAIM },
            Claim { accepter: "b/3", ..CLAIM },
            Claim { asked: "01", ..CLAIM },
            Claim { countered: "10", ..CLAIM },
        ];
        for other in others {
            assert!(!other.holds("key", &proof), "{other:?}");
        }
    }

    #[test]
    fn the_hmac_is_the_published_one() {
        // RFC 4231, test case 2.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let tag = hex(hmac::sign(&key, b"what do ya want for nothing?").as_ref());
        assert_eq!(tag, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn nothing_is_drawn_twice() {
        let mut entropy = Entropy::new([7; 32]);
        let drawn: std::collections::BTreeSet<String> = (0..100).map(|_| entropy.challenge()).collect();
        assert_eq!(drawn.len(), 100);
        assert_eq!(uuid::Uuid::parse_str(&entropy.uuid()).unwrap().get_version_num(), 4);
        assert!(!format!("{entropy:?}").contains('7'), "the key is in no log");
    }
}
