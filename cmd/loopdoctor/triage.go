package main

import "github.com/spf13/cobra"

func (p *program) triage() *cobra.Command { return &cobra.Command{Use: "triage", Hidden: true} }
