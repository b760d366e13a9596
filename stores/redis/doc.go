// Package redisstore keeps sessions and sign-in codes of a [wechatgate.Gate] in
// Redis, with go-redis v9 and Redis 6.2 or later:
//
//	client := redis.NewClient(&redis.Options{
//		Addr:                  "127.0.0.1:6379",
//		DialTimeout:           2 * time.Second,
//		ReadTimeout:           2 * time.Second,
//		WriteTimeout:          2 * time.Second,
//		ContextTimeoutEnabled: true,
//	})
//	gate, err := wechatgate.New(wechatgate.Options{
//		…
//		Store: redisstore.Sessions(client, "shop:session:"),
//		CodeSignIn: wechatgate.CodeSignIn{
//			…
//			Codes: redisstore.Codes(client),
//		},
//	})
//
// Set time limits on the client: a Redis that hangs would keep every page waiting.
// Without ContextTimeoutEnabled go-redis ignores a context's deadline.
//
// Give Redis persistence (appendonly yes), or a restart signs everybody out, and
// maxmemory-policy noeviction, or it forgets sessions and tries when memory is
// short. Reads have to go to the master: a replica is late, and shows a session
// after it was deleted. Redis does not wait for its replicas, so that a failover
// may forget the last sessions and tries, and bring back a code that was used. A
// cluster is fine: each command has one key.
package redisstore
