import org.ciregistry.Parameters

/** Adds tags to an image where it is; see ciRegistryTag.txt. */
Map call(Map given = [:]) {
    ciRegistryRun.checkParameters('ciRegistryTag', given, ['image', 'tags', 'dryRun'], ['image', 'tags'])
    List arguments = ['tag'] + Parameters.flag('dry-run', given.dryRun) +
        ['--', given.image.toString()] + Parameters.texts(given.tags)
    Map outcome = ciRegistryRun.runTool('ciRegistryTag', arguments, given)
    return outcome + [digest: outcome.result ? outcome.result.images[0].digest : null]
}
