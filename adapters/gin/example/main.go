// The program example is a site of members only, with gin. It signs people in
// with a fake WeChat; a real site fills in wechatgate.Options.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"

	"github.com/wechatgate/wechatgate"
	gingate "github.com/wechatgate/wechatgate/adapters/gin"
	"github.com/wechatgate/wechatgate/wechattest"
)

func main() {
	address := append(os.Args, "localhost:8080")[1]
	gate, err := wechatgate.New(wechattest.NewServer().Options("http://" + address))
	if err != nil {
		log.Fatal(err)
	}
	r := gin.Default()
	r.Use(gingate.Wrap(gate.Require))
	r.GET("/", func(c *gin.Context) {
		user, _ := gingate.User(c)
		c.String(http.StatusOK, "hello %s\n", user.OpenID)
	})
	log.Fatal(r.Run(address))
}
