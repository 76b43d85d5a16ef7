import org.ciregistry.Parameters

/** Makes one multi-platform image out of several; see ciRegistryIndex.txt. */
Map call(Map given = [:]) {
    ciRegistryRun.checkParameters('ciRegistryIndex', given, ['image', 'sources', 'annotations', 'dryRun'], ['image', 'sources'])
    List arguments = ['index', 'create'] + Parameters.option('annotation', given.annotations) +
        Parameters.flag('dry-run', given.dryRun) + ['--', given.image.toString()] + Parameters.texts(given.sources)
    Map outcome = ciRegistryRun.runTool('ciRegistryIndex', arguments, given)
    return outcome + [digest: outcome.result ? outcome.result.images[0].digest : null]
}
