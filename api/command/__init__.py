"""The people's command, `lightship`: engines that are started, stopped, looked at, thrown away."""
