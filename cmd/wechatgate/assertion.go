package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wechatgate/wechatgate"
)

const assertionLifetime = 5 * time.Minute

// assertions signs who a visitor is, for sites that want to check it.
type assertions struct {
	signer jose.Signer
	issuer string
	keys   []byte // the public ones, as JSON
}

// newAssertions derives one key from each session key. The first signs, all are
// published.
func newAssertions(sessionKeys [][]byte, issuer string) (*assertions, error) {
	var public jose.JSONWebKeySet
	var first jose.JSONWebKey
	for i, sessionKey := range sessionKeys {
		key, err := assertionKey(sessionKey)
		if err != nil {
			return nil, err
		}
		web := jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256), Use: "sig"}
		thumbprint, err := web.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		web.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
		if i == 0 {
			first = web
		}
		public.Keys = append(public.Keys, web.Public())
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: first}, new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	keys, err := json.Marshal(public)
	return &assertions{signer: signer, issuer: issuer, keys: keys}, err
}

// assertionKey takes 128 bits more than a key has, so that its remainder is as good
// as random (FIPS 186-5, A.2.1).
func assertionKey(sessionKey []byte) (*ecdsa.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, sessionKey, nil, "wechatgate v2\nassertion\nES256", 48)
	if err != nil {
		return nil, err
	}
	order := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1))
	scalar := new(big.Int).Mod(new(big.Int).SetBytes(seed), order)
	scalar.Add(scalar, big.NewInt(1))
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar.FillBytes(make([]byte, 32)))
}

// identityClaims are the claims beside the standard ones.
type identityClaims struct {
	OpenID   string `json:"openid"`
	AppID    string `json:"appid"`
	UnionID  string `json:"unionid"`
	Nickname string `json:"nickname"`
	Avatar   string `json:"avatar"`
}

func (a *assertions) sign(u wechatgate.User) (string, error) {
	now := time.Now()
	token, err := jwt.Signed(a.signer).Claims(jwt.Claims{
		Issuer:   a.issuer,
		Audience: jwt.Audience{a.issuer},
		Subject:  u.Key(),
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(assertionLifetime)),
	}).Claims(identityClaims{u.OpenID, u.AppID, u.UnionID, u.Nickname, u.AvatarURL}).Serialize()
	if err != nil {
		return "", fmt.Errorf("assertion: %w", err)
	}
	return token, nil
}

// ServeHTTP publishes the keys.
func (a *assertions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(a.keys)
}
