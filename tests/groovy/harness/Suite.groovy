import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic

/** Runs the cases in one JVM and writes a result for each of them. */
class Suite {
    final Map setup
    final Library library
    private final List<List> cases = []
    private int builds = 0

    Suite(Map setup) {
        this.setup = setup
        this.library = new Library(new File(setup.library))
    }

    static void main(String[] arguments) {
        Map setup = (Map) new JsonSlurperClassic().parse(new File(arguments[0]))
        Suite suite = new Suite(setup)
        new File(setup.cases).eachFileMatch(~/.*\.groovy/) { File file -> suite.load(file) }
        new File(setup.results).text = JsonOutput.toJson(suite.run())
    }

    private void load(File file) {
        Binding binding = new Binding([suite: this, setup: setup, test: { String name, Closure body ->
            cases.add([file.name, name, body])
        }])
        new GroovyShell(Suite.classLoader, binding).evaluate(file)
    }

    List<Map> run() {
        return cases.collect { List each ->
            long started = System.currentTimeMillis()
            Build build = null
            try {
                Closure body = (Closure) each[2]
                build = newBuild()
                body.call(build)
                return [file: each[0], name: each[1], ok: true, raw: build.rawLog.toString(), log: build.log.toString(),
                        milliseconds: System.currentTimeMillis() - started]
            } catch (Throwable problem) {
                return [file: each[0], name: each[1], ok: false, message: story(problem), raw: build?.rawLog?.toString(),
                        log: build?.log?.toString()]
            }
        }
    }

    /** What happened, and where in Groovy sources. */
    private static String story(Throwable problem) {
        List lines = []
        for (Throwable each = problem; each != null; each = each.cause) {
            lines.add(each.toString())
            List frames = each.stackTrace.findAll { it.fileName ==~ /.*\.groovy/ && it.fileName != 'Suite.groovy' }
            lines.addAll(frames.collect { '    ' + it.fileName + ':' + it.lineNumber + ' ' + it.methodName }.unique().take(25))
        }
        return lines.join('\n')
    }

    /** A build with the credentials of all registries in its Jenkins, and a repository to check out. */
    Build newBuild(Map more = [:]) {
        builds++
        File folder = new File(setup.work, 'build ' + builds)
        File home = new File(folder, 'home')
        home.mkdirs()
        Map environment = [
            PATH: setup.bin + ':/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', HOME: home.path, CI: 'true',
            JOB_NAME: 'team/app', BUILD_NUMBER: '' + builds, BUILD_TAG: 'jenkins-team-app-' + builds,
            BUILD_URL: 'https://jenkins.example.org/job/team/job/app/' + builds + '/', BRANCH_NAME: 'main',
            JENKINS_URL: 'https://jenkins.example.org/', PYTHON_KEYRING_BACKEND: 'keyring.backends.null.Keyring',
            AWS_EC2_METADATA_DISABLED: 'true', PYTHONPATH: setup.pythonPath,
        ] + more
        Build build = new Build(library, folder, environment)
        setup.registries.each { String name, Map registry ->
            build.credentials[name + '-login'] = [username: registry.username, secret: registry.password]
        }
        build.checkout = { File workspace ->
            new File(workspace, 'ci-registry.yaml').text = configuration()
            Build.copy(new File(setup.repository), workspace, '**')
        }
        return build
    }

    String configuration() {
        List lines = ['targets:']
        setup.registries.each { String name, Map registry ->
            lines.add('  ' + name + ': {kind: registry, url: "' + registry.url + '"}')
        }
        return lines.join('\n') + '\n'
    }

    /** A repository that no other case uses. */
    String repository() {
        return 'team/r' + UUID.randomUUID().toString().substring(0, 8)
    }

    /** The digest of a tag, by skopeo; null where there is none. */
    String digest(String target, String repository, String tag) {
        Map registry = (Map) setup.registries[target]
        List command = ['skopeo', 'inspect', '--raw', '--tls-verify=false', '--authfile', authFile(registry).path,
                        'docker://' + registry.host + '/' + repository + ':' + tag]
        Process process = command.execute()
        ByteArrayOutputStream output = new ByteArrayOutputStream()
        process.waitForProcessOutput(output, new ByteArrayOutputStream())
        if (process.exitValue() != 0) {
            return null
        }
        byte[] hash = java.security.MessageDigest.getInstance('SHA-256').digest(output.toByteArray())
        return 'sha256:' + hash.encodeHex()
    }

    private File authFile(Map registry) {
        File file = new File(setup.judge, 'auth-' + registry.host + '.json')
        String auth = (registry.username + ':' + registry.password).bytes.encodeBase64()
        file.text = JsonOutput.toJson([auths: [(registry.host): [auth: auth]]])
        return file
    }
}
