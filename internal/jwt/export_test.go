package jwt

import "crypto/ed25519"

// SigningKeyForTest gives the private key that signs now.
func SigningKeyForTest(t *Tokens) ed25519.PrivateKey {
	k, err := t.key(t.month(t.Now()))
	if err != nil {
		panic(err)
	}
	return k.private
}
