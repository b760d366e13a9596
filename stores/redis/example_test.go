package redisstore_test

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wechatgate/wechatgate"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
)

// Sessions and codes of several machines in one Redis. New does not ask it: a
// program may start first, and answers 503 until Redis is there.
func Example() {
	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379",
		DialTimeout:           2 * time.Second,
		ReadTimeout:           2 * time.Second,
		WriteTimeout:          2 * time.Second,
		ContextTimeoutEnabled: true,
	})
	defer client.Close()

	_, err := wechatgate.New(wechatgate.Options{ // the same on every machine
		BaseURL:         "https://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "wx1234567890abcdef", Secret: "from-the-environment"},
		SessionKeys:     [][]byte{[]byte("stands for 32 random bytes or more")},
		Store:           redisstore.Sessions(client, "shop:session:"),
		CodeSignIn: wechatgate.CodeSignIn{
			Scan:  true,
			Codes: redisstore.Codes(client),
		},
	})
	fmt.Println(err)
	// Output: <nil>
}
