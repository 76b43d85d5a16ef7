import org.ciregistry.Parameters

/** A block in which other programs are logged in to several registries; see withCiRegistry.txt. */
def call(Map given = [:], Closure body) {
    ciRegistryRun.checkParameters('withCiRegistry', given, ['targets'], [])
    Map credentials = given.credentials ?: [:]
    List targets = Parameters.texts(given.targets) ?: new ArrayList(credentials.keySet())
    if (!targets) {
        error("withCiRegistry: no target is named; give credentials: or targets:")
    }
    String folder = pwd(tmp: true) + '/ci-registry-docker-' + UUID.randomUUID().toString()
    try {
        return ciRegistryRun.withLogins(credentials) {
            inside(given, targets, folder, body)
        }
    } finally {
        dir(folder) {
            deleteDir()
        }
    }
}

/** The block itself, once its credentials are bound. */
def inside(Map given, List targets, String folder, Closure body) {
    Map shared = [config: given.config, tool: given.tool]
    Map made = ciRegistryRun.runTool('withCiRegistry', ['docker-config', '--', folder] + targets, shared)
    List environment = [
        'DOCKER_CONFIG=' + made.result.folder,
        // skopeo and buildah read the same file by another name
        'REGISTRY_AUTH_FILE=' + made.result.folder + '/config.json',
        'PATH+CI_REGISTRY=' + made.result.path,
    ]
    if (given.config) {
        // docker may ask from another folder
        String config = given.config.toString()
        environment.add('CI_REGISTRY_CONFIG=' + (config.startsWith('/') ? config : pwd() + '/' + config))
    }
    return withEnv(environment) {
        body()
    }
}
