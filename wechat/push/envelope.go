package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WeChat's signatures are SHA-1; what they cover is no password
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// What stands in an envelope, and how it is signed:
// https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/api/Before_Develop/Technical_Plan.html

// aesKey is a console's EncodingAESKey (消息加解密密钥), decoded.
type aesKey [32]byte

const (
	encodedKeyLength = 43
	randomLength     = 16
	headerLength     = randomLength + 4
	// paddingBlock is what WeChat pads to, which is more than AES asks for.
	paddingBlock = 32
)

var (
	errKeyForm = errors.New("want the 43 letters and digits of the console's 消息加解密密钥")
	errSealed  = errors.New("the message cannot be decrypted")
	errAppID   = errors.New("the message was encrypted for another account")
)

func parseKey(encoded string) (aesKey, error) {
	if len(encoded) != encodedKeyLength || !isAlphanumeric(encoded) {
		return aesKey{}, errKeyForm
	}
	// Not Strict: the last letter has two bits too many, and the console draws
	// it at random.
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(decoded) != len(aesKey{}) {
		return aesKey{}, errKeyForm
	}
	return aesKey(decoded), nil
}

// open decrypts an envelope's Encrypt, whose signature was checked before.
func (k aesKey) open(encrypted, appID string) (message []byte, err error) {
	data, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil || len(data) == 0 || len(data)%paddingBlock != 0 {
		return nil, errSealed
	}
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, errSealed
	}
	cipher.NewCBCDecrypter(block, k[:aes.BlockSize]).CryptBlocks(data, data)

	padding := int(data[len(data)-1])
	if padding < 1 || padding > paddingBlock {
		return nil, errSealed
	}
	data, tail := data[:len(data)-padding], data[len(data)-padding:]
	for _, b := range tail {
		if int(b) != padding {
			return nil, errSealed
		}
	}
	if len(data) < headerLength {
		return nil, errSealed
	}
	length := binary.BigEndian.Uint32(data[randomLength:])
	data = data[headerLength:]
	if uint64(length) > uint64(len(data)) {
		return nil, errSealed
	}
	if string(data[length:]) != appID {
		return nil, errAppID
	}
	return data[:length:length], nil
}

// seal encrypts a reply. random has to be fresh for each.
func (k aesKey) seal(random [randomLength]byte, message, appID string) (encrypted string, err error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return "", err
	}
	data := append([]byte{}, random[:]...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(message))) //nolint:gosec // a reply has a few thousand bytes
	data = append(data, message...)
	data = append(data, appID...)
	padding := paddingBlock - len(data)%paddingBlock
	for range padding {
		data = append(data, byte(padding))
	}
	cipher.NewCBCEncrypter(block, k[:aes.BlockSize]).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data), nil
}

func freshRandom() (random [randomLength]byte) {
	_, _ = rand.Read(random[:]) // never fails
	return random
}

func freshNonce() string { return rand.Text() }

// sign returns the signature of parts, the Token among them.
func sign(parts ...string) string {
	sorted := slices.Sorted(slices.Values(parts))
	sum := sha1.Sum([]byte(strings.Join(sorted, ""))) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

func signedBy(signature string, parts ...string) bool {
	return subtle.ConstantTimeCompare([]byte(signature), []byte(sign(parts...))) == 1
}

func isAlphanumeric(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}) < 0
}
