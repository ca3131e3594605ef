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

		lostOnOutput,
		lostOnWire,
		lostOnInput,
		replyLost,
		filterRejectsLoopback,
		answeredElsewhere,

		noListener,
		configuredElsewhere,
		tcpSwitchedOff,
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
		listenerPinnedToDevice,

		nobodyAccepts,
		acceptQueueFull,
		processStoppedOrDebugged,
		forwarderAcceptsBackendDead,

		portHeldByOtherApp,
		staleOwnDevServer,
		ideForwarderSquats,
		orphanListenerInChild,
		listenerWithoutOwner,
		wildcardSpecificConflict,
		listenTimeEADDRINUSE,
		reuseportUIDMismatch,
		ownerHiddenFromYou,
		ephemeralClientHoldsPort,
		temporaryPort,
		timeWaitBlocksBind,
		lingeringConnectionBlocksBind,
		privilegedPort,
	}
}
