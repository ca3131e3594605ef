package main

import "github.com/spf13/cobra"

func (p *program) man() *cobra.Command { return &cobra.Command{Use: "man", Hidden: true} }
