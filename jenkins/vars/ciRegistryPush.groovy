import org.ciregistry.Parameters

/** Copies an image to one or more targets; see ciRegistryPush.txt. */
Map call(Map given = [:]) {
    List own = ['source', 'to', 'repository', 'tags', 'platform', 'referrers', 'digestFile', 'dryRun']
    ciRegistryRun.checkParameters('ciRegistryPush', given, own, ['source', 'to'])
    List arguments = ['push'] +
        Parameters.option('target', given.to) +
        Parameters.option('repository', given.repository) +
        Parameters.option('tag', given.tags) +
        Parameters.option('platform', given.platform) +
        Parameters.option('digest-file', given.digestFile) +
        Parameters.flag('referrers', given.referrers) +
        Parameters.flag('dry-run', given.dryRun) +
        ['--', given.source.toString()]
    Map outcome = ciRegistryRun.runTool('ciRegistryPush', arguments, given)
    List images = outcome.result ? outcome.result.images : []
    List references = []
    for (int i = 0; i < images.size(); i++) {
        for (int j = 0; j < images[i].destinations.size(); j++) {
            references.add(images[i].destinations[j].reference)
        }
    }
    return outcome + [digest: images ? images[0].digest : null, references: references]
}
