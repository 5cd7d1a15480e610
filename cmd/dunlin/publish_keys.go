package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/publish"
)

func publishListCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "show what is published and staged, and how long the signatures last",
		ArgsUsage: "DIR",
		Flags:     publishFlags(),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, _ []string) error {
			l, err := p.List(time.Now())
			if err != nil {
				return err
			}
			return output(c, l, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "publisher\t%s\nfingerprint\t%s\n\n", l.Publisher, l.Fingerprint)
				for _, u := range l.Updates {
					fmt.Fprintf(w, "%s@%s\trelease %d\t%s\t%s\t%d bytes\t%q\n", u.ID, u.Version, u.Release, u.State, u.Handler, u.Length, u.Title)
				}
				fmt.Fprintln(w)
				printRoles(w, l.Roles)
			})
		}),
	}
}

func publishCertCommand() *cli.Command {
	return &cli.Command{
		Name:        "cert",
		Usage:       "issue a certificate for the web server from the publisher's private authority",
		ArgsUsage:   "DIR HOST...",
		Description: "Writes DIR/tls/HOST.crt and HOST.key. Needs the passphrase. Run it again before the certificate ends.",
		Flags:       publishFlags(&cli.IntFlag{Name: "days", Value: int(publish.DefaultCertLifetime / (24 * time.Hour)), Usage: "how long it lasts, 7 to 90 `DAYS`"}),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, args []string) error {
			cert, err := p.Cert(c.Context, args[1:], time.Duration(c.Int("days"))*24*time.Hour, time.Now())
			if err != nil {
				return err
			}
			return output(c, cert, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "certificate\t%s\nkey\t%s\nuntil\t%s\npin\t%v\n\nfor nginx:\n", cert.Cert, cert.Key, cert.NotAfter.Format(time.RFC3339), cert.Pin)
				fmt.Fprintf(w, "  server {\n    listen 443 ssl;\n    server_name %s;\n    ssl_protocols TLSv1.3;\n", cert.Hosts[0])
				fmt.Fprintf(w, "    ssl_certificate %s;\n    ssl_certificate_key %s;\n    root %s/public;\n  }\n", cert.Cert, cert.Key, p.Dir())
			})
		}),
	}
}

func publishRotateCommand() *cli.Command {
	return &cli.Command{
		Name:        "rotate",
		Usage:       "sign a new root, and replace keys",
		ArgsUsage:   "DIR",
		Description: "Without --key it only signs the root anew, which has to be done once a year. Needs the passphrase.",
		Flags:       publishFlags(listFlag("key", "replace this `KEY`: root, targets or online")),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, _ []string) error {
			r, err := p.Rotate(c.Context, listOf(c, "key"), time.Now())
			if err != nil {
				return err
			}
			return output(c, r, func(w *tabwriter.Writer) {
				for _, k := range r.Keys {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Name, k.Use, k.ID, k.Path)
				}
				fmt.Fprintf(w, "signed\t%s\n\n", orNone(r.Signed))
				printRoles(w, r.Roles)
			})
		}),
	}
}
