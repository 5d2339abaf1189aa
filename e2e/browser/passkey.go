package browser

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// Authenticator is a device with passkeys that a tab has at hand, whose owner
// agrees to everything.
type Authenticator struct {
	tab *Tab
	id  webauthn.AuthenticatorID
}

// Authenticator gives the tab a device for passkeys. Whatever the tab had
// before, in this way or for real, is out of reach.
func (t *Tab) Authenticator() (*Authenticator, error) {
	a := &Authenticator{tab: t}
	return a, t.do(func(ctx context.Context) error {
		if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		added, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{
				Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
				HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			},
		})
		if err == nil {
			a.id = added.AuthenticatorID
		}
		return err
	})
}

// Verify says whether the device recognises its owner from now on.
func (a *Authenticator) Verify(yes bool) error {
	return a.tab.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: a.id, IsUserVerified: yes})
		return err
	})
}

// Passkeys gives the passkeys on the device.
func (a *Authenticator) Passkeys() (list []webauthn.Credential, err error) {
	return list, a.tab.do(func(ctx context.Context) error {
		got, err := chromedp.Call(ctx, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: a.id})
		for _, c := range got.Credentials {
			list = append(list, *c)
		}
		return err
	})
}

// addCredential is webauthn.AddCredential without the fields that older browsers
// refuse.
var addCredential = cdp.Command[addCredentialParams, cdp.Empty]{Method: webauthn.CommandAddCredential}

type addCredentialParams struct {
	AuthenticatorID webauthn.AuthenticatorID `json:"authenticatorId"`
	Credential      struct {
		CredentialID         []byte  `json:"credentialId"`
		IsResidentCredential bool    `json:"isResidentCredential"`
		RpID                 string  `json:"rpId"`
		PrivateKey           []byte  `json:"privateKey"`
		UserHandle           []byte  `json:"userHandle"`
		SignCount            float64 `json:"signCount"`
	} `json:"credential"`
}

// Replace puts one passkey onto the device in place of all others, as if it was
// copied there.
func (a *Authenticator) Replace(c webauthn.Credential) error {
	return a.tab.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, webauthn.ClearCredentials, webauthn.ClearCredentialsParams{AuthenticatorID: a.id})
		if err == nil {
			add := addCredentialParams{AuthenticatorID: a.id}
			add.Credential.CredentialID, add.Credential.IsResidentCredential, add.Credential.RpID = c.CredentialID, true, c.RpID
			add.Credential.PrivateKey, add.Credential.UserHandle, add.Credential.SignCount = c.PrivateKey, c.UserHandle, c.SignCount
			_, err = chromedp.Call(ctx, addCredential, add)
		}
		return err
	})
}
