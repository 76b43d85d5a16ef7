import hudson.AbortException
import java.util.concurrent.TimeUnit
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/**
 * One build on a make-believe Jenkins. `sh` really runs what it is given, everything else is as strict as it can be:
 * each agent has a fresh workspace, values that a restart would lose are refused, and so is a secret in a GString.
 *
 * `log` is what the console shows, `rawLog` the same without masking. `answers` are the approver's, in turn: a name, a
 * map, or an exception. `missing` are steps whose plug-in is not installed.
 */
class Build {
    static final long SH_SECONDS = 120

    final Library library
    final File folder
    final StringBuilder log = new StringBuilder()
    final StringBuilder rawLog = new StringBuilder()
    final List<List> calls = []
    final Map<String, Map> credentials = [:]
    final List answers = []
    final Set<String> missing = [] as Set
    final Map<String, File> stashes = [:]
    final Map<String, List<File>> published = [:].withDefault { [] }
    final Map<String, Object> variables = [:]
    Map params = [:]
    Closure checkout = { File workspace -> }
    Expando currentBuild = new Expando(description: null, displayName: '#1', result: null, currentResult: 'SUCCESS',
        getBuildCauses: { -> [[shortDescription: 'Started by user Ann $HOME']] })

    private final Set<String> secrets = [] as Set
    private final Map<String, Closure> steps
    private Map<String, String> environment
    private File workspace
    private File directory
    private int agents = 0
    private int executors = 0

    Build(Library library, File folder, Map environment) {
        this.library = library
        this.folder = folder
        this.environment = new LinkedHashMap(environment)
        steps = makeSteps()
        for (String name : library.names()) {
            variables[name] = adopt(library.variable(name))
        }
    }

    // -- running pipelines --------------------------------------------------------------------------------------

    /** A pipeline in a file, scripted or declarative. */
    Object run(File file) {
        return runScript(library.pipeline(file))
    }

    /** A scripted pipeline given as text. */
    Object run(String text, Map parameters = [:]) {
        params = parameters
        return runScript(library.pipeline(text))
    }

    private Object runScript(Script script) {
        adopt(script)
        new Declarative(this, script).offer()
        return script.run()
    }

    /** Run steps written in a test, with an agent. */
    Object onAgent(Closure body) {
        Script script = adopt(library.pipeline('null'))
        return step('node', [body.rehydrate(script, script, script)] as Object[])
    }

    int executorsInUse() {
        return executors
    }

    Script adopt(Script script) {
        Build build = this
        script.binding = new Binding() {
            @Override
            Object getVariable(String name) {
                return build.variable(name)
            }

            @Override
            boolean hasVariable(String name) {
                return build.isVariable(name)
            }
        }
        ExpandoMetaClass meta = new ExpandoMetaClass(script.class, false, true)
        meta.methodMissing = { String name, Object arguments -> build.step(name, arguments as Object[]) }
        // Groovy's own, which would win over the hook
        meta.sleep = { Object given -> build.step('sleep', [given] as Object[]) }
        meta.println = { Object given -> build.step('echo', [given] as Object[]) }
        meta.initialize()
        script.metaClass = meta
        return script
    }

    boolean isVariable(String name) {
        return name in ['env', 'params', 'currentBuild', 'scm'] || variables.containsKey(name)
    }

    Object variable(String name) {
        switch (name) {
            case 'env': return new EnvironmentView(this)
            case 'params': return params
            case 'currentBuild': return currentBuild
            case 'scm': return 'the pipeline\'s own repository'
        }
        if (!variables.containsKey(name)) {
            throw new MissingPropertyException(name, Build)
        }
        return variables[name]
    }

    // -- steps --------------------------------------------------------------------------------------------------

    Object step(String name, Object[] arguments) {
        if (variables[name] instanceof Script) {
            arguments.each { checkSerialisable(name, it) }
            Object result = variables[name].call(*arguments)
            checkSerialisable(name, result)
            return result
        }
        Closure step = steps[name]
        if (step == null || name in missing) {
            throw new NoSuchMethodError("No such DSL method '" + name + "' found among steps")
        }
        calls.add([name, arguments.findAll { !(it instanceof Closure) }])
        arguments.each { checkSerialisable(name, it) }
        Object result = step.call(arguments)
        checkSerialisable(name, result)
        return result
    }

    List named(String name) {
        return calls.findAll { it[0] == name }
    }

    private void checkSerialisable(String step, Object value) {
        if (value instanceof Closure || value instanceof Script) {
            return
        }
        if (value instanceof Map) {
            Map plain = value.findAll { !(it.value instanceof Closure) }
            assert value.getClass().name in ['java.util.LinkedHashMap', 'java.util.HashMap', 'java.util.Collections$EmptyMap'] :
                step + ': a ' + value.getClass().name + ' is no plain map'
            value = new LinkedHashMap(plain)
        }
        try {
            new ObjectOutputStream(new ByteArrayOutputStream()).writeObject(value)
        } catch (NotSerializableException lost) {
            throw new AssertionError(step + ': a restart would lose a ' + lost.message)
        }
    }

    private Map<String, Closure> makeSteps() {
        Map<String, Closure> made = [:]
        made.putAll(agentSteps())
        made.putAll(blockSteps())
        made.putAll(fileSteps())
        made.putAll(flowSteps())
        return made
    }

    private static Closure bodyOf(Object[] arguments) {
        return (Closure) arguments[-1]
    }

    // -- agents and programs ------------------------------------------------------------------------------------

    private Map<String, Closure> agentSteps() {
        return [
            node: { Object[] given -> onNode(given.length > 1 ? given[0] : '', bodyOf(given)) },
            sh: { Object[] given -> shell(given[0]) },
            pwd: { Object[] given -> given.length && given[0]?.tmp ? temporary().path : needDirectory().path },
            isUnix: { Object[] given -> true },
            checkout: { Object[] given ->
                checkout.call(needDirectory())
                return [GIT_COMMIT: '0123456789abcdef0123456789abcdef01234567', GIT_BRANCH: 'origin/main']
            },
            deleteDir: { Object[] given -> remove(needDirectory()) },
        ]
    }

    private Object onNode(Object label, Closure body) {
        File outerWorkspace = workspace
        File outerDirectory = directory
        agents++
        executors++
        workspace = new File(folder, 'agent ' + agents + '/workspace')
        workspace.mkdirs()
        directory = workspace
        Map node = [WORKSPACE: workspace.path, WORKSPACE_TMP: workspace.path + '@tmp', NODE_NAME: 'agent-' + agents,
                    NODE_LABELS: label.toString(), EXECUTOR_NUMBER: '0']
        try {
            return with(node) { body.call() }
        } finally {
            executors--
            workspace = outerWorkspace
            directory = outerDirectory
        }
    }

    private File needDirectory() {
        if (directory == null) {
            throw new IllegalStateException('Required context class hudson.FilePath is missing: no agent')
        }
        return directory
    }

    private File temporary() {
        needDirectory()
        File found = new File(workspace.path + '@tmp')
        found.mkdirs()
        return found
    }

    private Object shell(Object argument) {
        Map given = argument instanceof Map ? argument : [script: argument]
        assert !(given.script instanceof GString) : 'sh: a GString; pass values in the environment'
        Set unknown = given.keySet() - ['script', 'returnStdout', 'returnStatus', 'label', 'encoding']
        assert !unknown : 'sh: unknown ' + unknown
        Map ran = execute((String) given.script, given.returnStdout as boolean, (String) given.encoding)
        if (given.returnStatus) {
            return ran.status
        }
        if (ran.status != 0) {
            throw new AbortException('script returned exit code ' + ran.status)
        }
        return given.returnStdout ? ran.output : null
    }

    private Map execute(String text, boolean keepOutput, String encoding) {
        File script = File.createTempFile('script', '.sh', temporary())
        script.text = text
        script.executable = true
        List command = text.startsWith('#!') ? [script.path] : ['/bin/sh', '-xe', script.path]
        ProcessBuilder builder = new ProcessBuilder(command)
        builder.directory(needDirectory())
        builder.environment().clear()
        builder.environment().putAll(environment)
        Process process = builder.start()
        process.outputStream.close()
        ByteArrayOutputStream output = new ByteArrayOutputStream()
        ByteArrayOutputStream errors = new ByteArrayOutputStream()
        Thread reader = process.consumeProcessOutputStream(output)
        Thread errorReader = process.consumeProcessErrorStream(errors)
        if (!process.waitFor(SH_SECONDS, TimeUnit.SECONDS)) {
            process.destroyForcibly()
            errors.write('the harness stopped it'.bytes)
        }
        reader.join()
        errorReader.join()
        script.delete()
        echo(errors.toString())
        if (!keepOutput) {
            echo(output.toString())
        }
        // what an agent in the POSIX locale makes of it, unless the step says better
        return [status: process.waitFor(), output: output.toString(encoding ?: 'US-ASCII')]
    }

    private void echo(String text) {
        for (String line : text.readLines()) {
            rawLog.append(line).append('\n')
            String masked = line
            for (String secret : secrets.sort { -it.length() }) {
                masked = masked.replace(secret, '****')
            }
            log.append(masked).append('\n')
        }
    }

    // -- blocks -------------------------------------------------------------------------------------------------

    private Map<String, Closure> blockSteps() {
        Closure plain = { Object[] given -> bodyOf(given).call() }
        return [
            withEnv: { Object[] given -> with(pairs((List) given[0])) { bodyOf(given).call() } },
            withCredentials: { Object[] given -> bound((List) given[0], bodyOf(given)) },
            dir: { Object[] given -> inDirectory(given[0].toString(), bodyOf(given)) },
            stage: plain, timeout: plain, retry: plain, lock: plain, ansiColor: plain, timestamps: plain, script: plain,
            catchError: { Object[] given ->
                try {
                    bodyOf(given).call()
                } catch (Exception problem) {
                    echo('ERROR: ' + problem.message)
                    currentBuild.result = 'FAILURE'
                }
            },
            parallel: { Object[] given -> branches((Map) given[0]) },
        ]
    }

    private Object with(Map<String, String> more, Closure body) {
        Map<String, String> outer = environment
        environment = new LinkedHashMap(outer)
        more.each { String name, String value ->
            if (name.startsWith('PATH+')) {
                environment.PATH = value + ':' + environment.PATH
            } else if (value == '') {
                environment.remove(name)
            } else {
                environment[name] = expanded(value, outer)
            }
        }
        try {
            return body.call()
        } finally {
            environment = outer
        }
    }

    /** Somewhere between a pipeline and a process, Jenkins may expand variables in a value; here it always does. */
    private static String expanded(String value, Map<String, String> known) {
        return value.replaceAll(/\$(\w+|\{\w+\})/) { List<String> found ->
            known.getOrDefault(found[1].replaceAll(/[{}]/, ''), found[0])
        }
    }

    private Map<String, String> pairs(List given) {
        return given.collectEntries { Object pair ->
            if (pair instanceof GString) {
                assert !pair.values.any { secrets.contains(it.toString()) } : 'withEnv: a secret in a GString'
            }
            int at = pair.toString().indexOf('=')
            assert at > 0 : 'withEnv: ' + pair
            return [pair.toString().substring(0, at), pair.toString().substring(at + 1)]
        }
    }

    private Object bound(List bindings, Closure body) {
        Map<String, String> more = [:]
        List<File> files = []
        for (Map binding : bindings) {
            Map credential = credentials[binding.credentialsId]
            if (credential == null) {
                throw new AbortException("Could not find credentials entry with ID '" + binding.credentialsId + "'")
            }
            more.putAll(valuesOf(binding, credential, files))
        }
        try {
            return with(more, body)
        } finally {
            files.each { it.delete() }
        }
    }

    private Map<String, String> valuesOf(Map binding, Map credential, List<File> files) {
        String secret = credential.secret
        secrets.add(secret)
        switch (binding['$class']) {
            case 'UsernamePasswordMultiBinding':
                assert credential.username : binding.credentialsId + ' is no user name and password'
                return [(binding.usernameVariable): credential.username, (binding.passwordVariable): secret]
            case 'StringBinding':
                return [(binding.variable): secret]
            case 'FileBinding':
                File file = File.createTempFile('secret', '', temporary())
                file.text = secret
                files.add(file)
                return [(binding.variable): file.path]
            case 'AmazonWebServicesCredentialsBinding':
                return [(binding.accessKeyVariable): credential.username, (binding.secretKeyVariable): secret]
        }
        throw new AssertionError('withCredentials: ' + binding)
    }

    private Object inDirectory(String path, Closure body) {
        File outer = needDirectory()
        directory = path.startsWith('/') ? new File(path) : new File(outer, path)
        directory.mkdirs()
        try {
            return body.call()
        } finally {
            directory = outer
        }
    }

    private Map branches(Map given) {
        Map results = [:]
        Throwable first = null
        given.findAll { it.key != 'failFast' }.each { Object name, Closure body ->
            try {
                results[name] = body.call()
            } catch (AssertionError broken) {
                throw broken
            } catch (Throwable problem) {
                echo('ERROR in branch ' + name + ': ' + problem.message)
                first = first ?: problem
            }
        }
        if (first != null) {
            throw first
        }
        return results
    }

    // -- files --------------------------------------------------------------------------------------------------

    private Map<String, Closure> fileSteps() {
        return [
            readFile: { Object[] given -> file(given[0] instanceof Map ? given[0].file : given[0]).text },
            writeFile: { Object[] given ->
                File target = file(given[0].file)
                target.parentFile.mkdirs()
                target.text = given[0].text
                return null
            },
            fileExists: { Object[] given -> file(given[0] instanceof Map ? given[0].file : given[0]).exists() },
            libraryResource: { Object[] given -> library.resource(given[0].toString()) },
            stash: { Object[] given -> keep(given[0]) },
            unstash: { Object[] given ->
                File kept = stashes[given[0] instanceof Map ? given[0].name : given[0].toString()]
                if (kept == null) {
                    throw new AbortException('No such saved stash ‘' + given[0] + '’')
                }
                copy(kept, needDirectory(), '**')
                return null
            },
            archiveArtifacts: { Object[] given ->
                publish('archive', given[0] instanceof Map ? given[0].artifacts : given[0],
                        given[0] instanceof Map && given[0].allowEmptyArchive)
            },
            junit: { Object[] given ->
                publish('junit', given[0] instanceof Map ? given[0].testResults : given[0],
                        given[0] instanceof Map && given[0].allowEmptyResults)
                return null
            },
            publishHTML: { Object[] given ->
                Map target = given[0].target ?: given[0]
                publish('html', target.reportDir + '/' + target.reportFiles, target.allowMissing)
                return null
            },
        ]
    }

    private File file(Object path) {
        return path.toString().startsWith('/') ? new File(path.toString()) : new File(needDirectory(), path.toString())
    }

    private Object keep(Object given) {
        Map parameters = given instanceof Map ? given : [name: given]
        File kept = new File(folder, 'stash ' + stashes.size())
        kept.mkdirs()
        int count = copy(needDirectory(), kept, (parameters.includes ?: '**').toString())
        if (count == 0 && !parameters.allowEmpty) {
            throw new AbortException('No files included in stash ‘' + parameters.name + '’')
        }
        stashes[parameters.name.toString()] = kept
        return null
    }

    private Object publish(String kind, Object pattern, Object allowEmpty) {
        File kept = new File(folder, 'published ' + kind)
        kept.mkdirs()
        int count = copy(needDirectory(), kept, pattern.toString())
        if (count == 0 && !allowEmpty) {
            throw new AbortException('No files match ' + pattern)
        }
        published[kind].add(kept)
        return null
    }

    /** Copy the files that a pattern of Ant's names; how many there were. */
    static int copy(File from, File to, String patterns) {
        int count = 0
        String expression = patterns.split(/\s*,\s*/).collect { expressionOf(it) }.join('|')
        from.eachFileRecurse(groovy.io.FileType.FILES) { File file ->
            String name = file.path.substring(from.path.length() + 1)
            if (name.matches(expression)) {
                File target = new File(to, name)
                target.parentFile.mkdirs()
                target.bytes = file.bytes
                count++
            }
        }
        return count
    }

    private static String expressionOf(String pattern) {
        return pattern.replace('.', '[.]').replace('**/', '\u0001').replace('**', '\u0002').replace('*', '[^/]*')
            .replace('\u0001', '(.*/)?').replace('\u0002', '.*')
    }

    private static Object remove(File directory) {
        // links are removed, not followed
        assert new ProcessBuilder('rm', '-rf', directory.path).start().waitFor() == 0
        return null
    }

    // -- flow ---------------------------------------------------------------------------------------------------

    private Map<String, Closure> flowSteps() {
        Closure nothing = { Object[] given -> null }
        Closure description = { Object[] given -> given.length ? [step: given[0]] : null }
        return [
            echo: { Object[] given -> echo(given[0].toString()) },
            error: { Object[] given -> throw new AbortException(given[0].toString()) },
            unstable: { Object[] given ->
                currentBuild.result = 'UNSTABLE'
                echo('WARNING: ' + (given[0] instanceof Map ? given[0].message : given[0]))
            },
            input: { Object[] given -> asked(given[0]) },
            milestone: nothing, sleep: nothing, properties: nothing,
            string: description, booleanParam: description, choice: description, parameters: description,
            buildDiscarder: description, logRotator: description, disableConcurrentBuilds: description, cron: description,
            pipelineTriggers: description,
        ]
    }

    private Object asked(Object given) {
        assert executors == 0 : 'input: an executor is held while people think'
        assert !answers.isEmpty() : 'input: nobody answers ' + given
        Object answer = answers.remove(0)
        if (answer instanceof Throwable) {
            throw answer
        }
        return answer
    }

    static FlowInterruptedException refusal() {
        return new FlowInterruptedException('Rejected by somebody')
    }
}

/** `env`: strings or null. */
class EnvironmentView {
    private final Build build

    EnvironmentView(Build build) {
        this.build = build
    }

    Object getProperty(String name) {
        return build.@environment[name]
    }

    void setProperty(String name, Object value) {
        build.@environment[name] = value.toString()
    }
}
