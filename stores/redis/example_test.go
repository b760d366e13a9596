package redisstore_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wechatgate/wechatgate"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
)

// Sessions and codes of several machines in one Redis. This needs one, so the
// example is compiled and not run.
func Example() {
	var options wechatgate.Options // BaseURL, OfficialAccount, SessionKeys: the same on every machine

	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379",
		DialTimeout:           2 * time.Second,
		ReadTimeout:           2 * time.Second,
		WriteTimeout:          2 * time.Second,
		ContextTimeoutEnabled: true,
	})
	defer client.Close()
	if err := client.Ping(context.Background()).Err(); err != nil {
		log.Print(err) // the gate answers 503 until Redis is there
	}

	options.Store = redisstore.Sessions(client, "shop:session:")
	options.CodeSignIn = wechatgate.CodeSignIn{
		Scan:  true,
		Codes: redisstore.Codes(client),
	}
	gate, err := wechatgate.New(options)
	if err != nil {
		log.Print(err)
		return
	}
	http.Handle("/", gate.Require(http.NotFoundHandler())) // your site in its place
}
