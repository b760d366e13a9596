// The program example is a site of members only, with echo v4. It signs people
// in with a fake WeChat; a real site fills in wechatgate.Options.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"

	"github.com/wechatgate/wechatgate"
	echogate "github.com/wechatgate/wechatgate/adapters/echo4"
	"github.com/wechatgate/wechatgate/wechattest"
)

func main() {
	address := append(os.Args, "localhost:8080")[1]
	gate, err := wechatgate.New(wechattest.NewServer().Options("http://" + address))
	if err != nil {
		log.Fatal(err)
	}
	e := echo.New()
	e.Use(echogate.Wrap(gate.Require))
	e.GET("/", func(c echo.Context) error {
		user, _ := echogate.User(c)
		return c.String(http.StatusOK, "hello "+user.OpenID+"\n")
	})
	log.Fatal(e.Start(address))
}
