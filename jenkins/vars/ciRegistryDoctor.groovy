import org.ciregistry.Parameters

/** Checks targets and this agent; see ciRegistryDoctor.txt. */
Map call(Map given = [:]) {
    ciRegistryRun.checkParameters('ciRegistryDoctor', given, ['targets'], [])
    return ciRegistryRun.runTool('ciRegistryDoctor', ['doctor', '--'] + Parameters.texts(given.targets), given)
}
