package checks

// The order of the causes is that of their pages and of "loopdoctor checks": by
// the stage of a connection at which they act.
func init() {
	causes = []*Check{
		hostsLocalhostMissing,
		hostsLocalhostWrong,
		nsswitchWithoutFiles,
		dnsAnswersLocalhost,

		loDown,
		loV4AddressMissing,
		policyRuleBeforeLocal,
		rejectRouteOnLoopback,
		localTableRouteMissing,
		loopbackAliasMissing,
		localhostBindV6Missing,
		loMTUTooSmall,
		sourcePortsExhausted,
		destinationWildcard,

		lostOnOutput,
		lostOnWire,
		lostOnInput,
		replyLost,
		filterRejectsLoopback,
		answeredElsewhere,

		noListener,
		boundNotListening,
		udpNotTCP,
		slowStart,
		portAutoIncremented,
		listensOnAnotherPort,
		portValueNotANumber,
		unixSocketNotTCP,
		clientDefaultEndpoint,
		otherNetworkNamespace,
		selfConnect,
		v6OnlyServerV4Client,
		v4OnlyServerV6Client,
		v6FirstV4OnlyServer,
		v6OnlyWildcard,
		lanIPOnlyBind,
		loopbackOnlyRemoteClient,
		listenerPinnedToDevice,
		browserOnAnotherMachine,

		nobodyAccepts,
		acceptQueueFull,
		processStoppedOrDebugged,
		forwarderAcceptsBackendDead,

		portHeldByOtherApp,
		staleOwnDevServer,
		ephemeralClientHoldsPort,
		timeWaitBlocksBind,
		lingeringConnectionBlocksBind,
		privilegedPort,
	}
}
