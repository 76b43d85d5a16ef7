// What running can't show: would it work sandboxed, and over a restart?

// What the library calls beside steps and itself. Each is on script-security's generic whitelist for the types here.
List whitelisted = [
    'add', 'addAll', 'contains', 'containsKey', 'endsWith', 'get', 'isEmpty', 'join', 'keySet', 'length', 'matches', 'min',
    'parseText', 'put', 'randomUUID', 'replace', 'size', 'startsWith', 'substring', 'toJson', 'toString', 'toUpperCase',
    'trim', 'call', 'values', 'parseInt', 'getBuildCauses',
]
List constructible = ['ArrayList', 'JsonSlurper']
List steps = ['error', 'sh', 'withEnv', 'withCredentials', 'libraryResource', 'pwd', 'dir', 'deleteDir', 'stash', 'unstash',
              'node', 'parallel', 'input', 'timeout', 'junit', 'publishHTML', 'archiveArtifacts', 'checkout', 'echo',
              'fileExists', 'readFile', 'writeFile', 'milestone']

File library = new File(setup.library)
List<File> variables = new File(library, 'vars').listFiles().findAll { it.name.endsWith('.groovy') }.sort()
List<File> classes = []
new File(library, 'src').eachFileRecurse(groovy.io.FileType.FILES) { classes.add(it) }
List<Scan> scans = (variables + classes).collect { new Scan(it) }
Set own = (scans*.methods*.keySet().flatten() + variables*.name*.minus('.groovy')) as Set

test('library: each step has its help, and help names each parameter') { Build build ->
    for (File file : variables) {
        File help = new File(file.path.replace('.groovy', '.txt'))
        assert help.exists()
        String known = (file.text =~ /(?s)(?:checkParameters\('\w+', given,|List own =) (\[.*?\])/)[0][1]
        for (String name : Eval.me(known)) {
            assert help.text =~ /(?m)^  $name\b|^  [\w, ]*\b$name\b.*:/ : help.name + ' does not explain ' + name
        }
    }
    assert new File(library, 'vars').listFiles().every { it.name.endsWith('.groovy') || new File(it.path.replace('.txt', '.groovy')).exists() }
}

test('library: only whitelisted calls, steps and itself') { Build build ->
    assert scans.size() >= 8
    for (Scan scan : scans) {
        for (Map call : scan.calls) {
            boolean known = call.name in whitelisted || call.name in own || call.name in steps || call.name == 'body'
            assert known : scan.at(call.line) + ' calls ' + call.name
        }
        for (String type : scan.constructed) {
            assert type in constructible : scan.file.name + ' makes a ' + type
        }
    }
}

test('library: no step and nothing of CPS in a NonCPS method') { Build build ->
    Map plain = scans*.methods.inject([:]) { Map all, Map one -> all + one }
    for (Scan scan : scans) {
        for (Map call : scan.calls.findAll { it.plain && it.implicit }) {
            assert plain[call.name] : scan.at(call.line) + ': ' + call.inMethod + ' is NonCPS and calls ' + call.name
        }
    }
    assert classes.every { File file -> new Scan(file).methods.values().every { it } } : 'a class method without NonCPS'
}

test('library: no GString, so that none can meet a shell or a secret') { Build build ->
    for (Scan scan : scans) {
        assert scan.gstrings.isEmpty() : scan.at(scan.gstrings[0])
    }
}

test('library: its classes can be kept over a restart') { Build build ->
    for (File file : classes) {
        Class type = suite.library.loader.loadClass('org.ciregistry.' + file.name.replace('.groovy', ''))
        assert Serializable.isAssignableFrom(type)
    }
}

test('library: no links, no Python package, nothing that Jenkins would not take') { Build build ->
    library.eachFileRecurse { File file ->
        assert !java.nio.file.Files.isSymbolicLink(file.toPath()) : file
        assert file.name != '__init__.py'
    }
    assert library.list().sort() == ['resources', 'src', 'vars']
}

test('library: the version is the one of the package') { Build build ->
    String version = (new File(setup.pythonPath, 'ci_registry/_version.py').text =~ /__version__ = "(.*)"/)[0][1]
    assert new File(library, 'resources/org/ciregistry/version.txt').text == version + '\n'
}

test('harness: strict where it must be') { Build build ->
    String secret = 'topsecret-value'
    build.credentials['id'] = [username: 'u', secret: secret]
    String binding = "[\$class: 'StringBinding', credentialsId: 'id', variable: 'S']"
    assert shouldFail(build, 'node { sh "echo ${1}" }') =~ /a GString/
    assert shouldFail(build, "node { withCredentials([${binding}]) { withEnv([\"X=\${env.S}\"]) { sh 'true' } } }") =~ /a secret/
    assert shouldFail(build, "echo(['a': 1].entrySet().iterator().next())") =~ /a restart would lose/
    assert shouldFail(build, "sh 'true'") =~ /no agent/
    assert shouldFail(build, "node { input 'go?' }") =~ /an executor is held/
    assert shouldFail(build, "nosuch 'x'") =~ /No such DSL method/
    assert shouldFail(build, "node { sh 'exit 3' }") =~ /exit code 3/
    build.run("node { withCredentials([${binding}]) { sh 'echo \$S' } }")
    assert build.log.toString().contains('****') && !build.log.toString().contains(secret)
    assert build.rawLog.toString().contains(secret)
}

test('harness: a broken declarative pipeline is refused') { Build build ->
    String good = "agent any\n stages { stage('a') { steps { echo 'x' } } }"
    build.run('pipeline { ' + good + ' }')
    assert shouldFail(build, 'pipeline { agnt any\n }') =~ /no section agnt/
    assert shouldFail(build, "pipeline { stages { stage('a') { steps { echo 'x' } } } }") =~ /agent is missing/
    assert shouldFail(build, "pipeline { agent any\n stages { stage('a') { environment { A = 'x' } } } }") =~ /exactly one/
    assert shouldFail(build, "pipeline { ${good}\n pots { always { echo 'x' } } }") =~ /no section pots/
    assert shouldFail(build, "pipeline { ${good}\n post { allways { echo 'x' } } }") =~ /no section allways/
    String twice = "stage('a') { steps { echo 'x' } }"
    assert shouldFail(build, "pipeline { agent any\n stages { ${twice}\n ${twice} } }") =~ /there twice/
}

String shouldFail(Build build, String text) {
    try {
        build.run(text)
    } catch (Throwable problem) {
        return problem.message
    }
    throw new AssertionError('accepted: ' + text)
}
