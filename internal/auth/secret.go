package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math/big"
	"strings"
)

// What secrets start with, so that people and scanners know them when they
// see them.
const (
	tokenPrefix   = "ptl_"
	linkPrefix    = "ptk_"
	sessionPrefix = "pts_"
	agentPrefix   = "pta_"
	flowPrefix    = "ptf_"
	refreshPrefix = "ptr_"
	devicePrefix  = "ptd_"
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// secretLength is how many base62 digits 32 bytes need.
const secretLength = 43

// newSecret makes a secret of 32 random bytes.
func newSecret(prefix string) string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program rather than give weak bytes
	return prefix + base62(b[:])
}

// base62 writes 32 bytes as digits and letters, always of the same length.
func base62(b []byte) string {
	n, base, rest := new(big.Int).SetBytes(b), big.NewInt(62), new(big.Int)
	out := make([]byte, secretLength)
	for i := secretLength - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		out[i] = alphabet[rest.Int64()]
	}
	return string(out)
}

// wellFormed tells whether s can be a secret of ours, so that rubbish costs no
// look into the store.
func wellFormed(prefix, s string) bool {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok || len(digits) != secretLength {
		return false
	}
	return strings.Trim(digits, alphabet) == ""
}

// hashOf is what the store keeps of a secret.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// same compares without telling by its time where the difference is.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
