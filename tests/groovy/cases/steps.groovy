import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

String failureOf(Closure work) {
    try {
        work.call()
    } catch (hudson.AbortException failure) {
        return failure.message
    }
    throw new AssertionError('it did not fail')
}

String pushed(Build build, String repository, String tag = '1') {
    return build.onAgent {
        checkout scm
        ciRegistryPush(source: 'oci:image', to: 'dev', repository: repository, tags: tag, credentials: [dev: 'dev-login'])
    }.digest
}

test('push: to several targets at once, each with its own credential') { Build build ->
    String repository = suite.repository()
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryPush(source: 'oci:image', to: ['dev', 'prod'], repository: repository, tags: ['1', 'latest'],
                       digestFile: 'digest.txt', credentials: [dev: 'dev-login', prod: [usernamePassword: 'prod-login']])
    }
    assert outcome.ok && outcome.exit == 0 && outcome.code == ''
    assert outcome.digest == setup.digests.image
    assert outcome.references.size() == 2
    for (String target : ['dev', 'prod']) {
        assert suite.digest(target, repository, '1') == outcome.digest
        assert suite.digest(target, repository, 'latest') == outcome.digest
    }
}

test('push: a dry run writes nothing') { Build build ->
    String repository = suite.repository()
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryPush(source: 'oci:image', to: 'dev', repository: repository, tags: '1', dryRun: true,
                       credentials: [dev: 'dev-login'])
    }
    assert outcome.ok && outcome.result.dry_run
    assert suite.digest('dev', repository, '1') == null
}

test('tag: adds tags to an image by digest') { Build build ->
    String repository = suite.repository()
    String digest = pushed(build, repository)
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryTag(image: 'dev:' + repository + '@' + digest, tags: ['2', 'stable'], credentials: [dev: 'dev-login'])
    }
    assert outcome.digest == digest
    assert suite.digest('dev', repository, 'stable') == digest
}

test('doctor: looks at a target with its credential') { Build build ->
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryDoctor(targets: 'dev', credentials: [dev: 'dev-login'], failOnError: false)
    }
    assert outcome.result != null
    assert outcome.result.toString().contains('environment variable CI_REGISTRY_DEV_PASSWORD')
}

test('credentials: a secret text and a file log in too') { Build build ->
    String repository = suite.repository()
    Map registry = setup.registries.dev
    build.credentials['text'] = [secret: registry.password]
    for (Map credential : [[string: 'text', username: registry.username], [file: 'text', username: registry.username]]) {
        Map outcome = build.onAgent {
            checkout scm
            ciRegistryPush(source: 'oci:image', to: 'dev', repository: repository, credentials: [dev: credential], tags: '1')
        }
        assert outcome.ok
    }
}

test('credentials: those of the AWS plug-in are bound once, as AWS names them') { Build build ->
    build.credentials['aws'] = [username: 'AKIAEXAMPLE', secret: 'aws-secret-key']
    build.onAgent {
        ciRegistryRun.withLogins([ecr: [aws: 'aws'], 'ecr-two': [aws: 'aws', roleArn: 'arn:aws:iam::1:role/x']]) {
            sh 'test "$AWS_ACCESS_KEY_ID" = AKIAEXAMPLE && test -n "$AWS_SECRET_ACCESS_KEY"'
        }
    }
    assert build.named('withCredentials')[0][1][0].size() == 1
}

test('credentials: the token of the ECR plug-in is handed on as it is') { Build build ->
    build.credentials['ecr:eu-west-1:id'] = [username: 'AWS', secret: 'AWS:token'.bytes.encodeBase64().toString()]
    build.onAgent {
        ciRegistryRun.withLogins([ecr: [ecr: 'ecr:eu-west-1:id']]) {
            sh 'test "$CI_REGISTRY_ECR_USERNAME" = AWS && test "$CI_REGISTRY_ECR_PASSWORD" = QVdTOnRva2Vu'
        }
    }
}

test('credentials: mistakes are named before anything runs') { Build build ->
    Map wrong = [
        (/a map of ids by target/): 'dev-login',
        (/credentials of Dev: that is not the name of a target/): [Dev: 'x'],
        (/credentials of dev: unknown key 'usernamePasword'/): [dev: [usernamePasword: 'x']],
        (/credentials of dev: the id is missing/): [dev: ''],
        (/credentials of dev: give one of/): [dev: [string: 'x', aws: 'y']],
        (/credentials of dev: a file holds only the password/): [dev: [file: 'x']],
        (/credentials of b: one run has one AWS identity/): [a: [aws: 'x'], b: [aws: 'y']],
    ]
    wrong.each { String words, Object credentials ->
        assert failureOf { build.onAgent { ciRegistryDoctor(credentials: credentials) } } =~ words
    }
    assert build.named('sh').isEmpty()
}

test('parameters: an unknown one is refused with the nearest known') { Build build ->
    assert failureOf { build.onAgent { ciRegistryPush(sorce: 'x', to: 'dev') } } ==
        "ciRegistryPush: unknown parameter 'sorce'; did you mean 'source'?"
    assert failureOf { build.onAgent { ciRegistryPush(source: 'x', ot: 'dev') } } =~ /did you mean 'to'\?/
    assert failureOf { build.onAgent { ciRegistryTag(image: 'x', wholly: 'other') } } =~ /unknown parameter 'wholly'; it takes image/
    assert failureOf { build.onAgent { ciRegistryPush(source: 'x') } } == "ciRegistryPush: parameter 'to' is missing"
    assert failureOf { build.onAgent { ciRegistryRun(arguments: []) } } =~ /'arguments' is missing/
    assert failureOf { build.onAgent { ciRegistryDoctor(tool: [verison: '1']) } } =~ /unknown key 'verison' of 'tool'/
}

test('failure: the build shows the sentence of the tool') { Build build ->
    String message = failureOf {
        build.onAgent {
            checkout scm
            ciRegistryTag(image: 'dev:team/nothing:1', tags: ['2'], credentials: [dev: 'dev-login'])
        }
    }
    assert message.startsWith('not-found (exit 4): ')
    assert build.log.toString().contains('ERROR ' + message.replaceFirst(/.*?\): /, ''))
}

test('failure: a caller can tell failures apart without one') { Build build ->
    Map outcome = build.onAgent {
        checkout scm
        ciRegistryTag(image: 'dev:team/nothing:1', tags: ['2'], credentials: [dev: 'prod-login'], failOnError: false)
    }
    assert [outcome.ok, outcome.exit, outcome.code] == [false, 3, 'access']
    assert outcome.message.contains("refused user 'prod-user'")
}

test('failure: a tool that ends without a result is told from one that failed') { Build build ->
    File broken = new File(build.folder, 'broken')
    broken.mkdirs()
    File tool = new File(broken, 'ci-registry')
    tool.text = '#!/bin/sh\n[ "$1" != --version ] || { echo ci-registry 0.1.0; exit; }\nexit 9\n'
    tool.executable = true
    String message = failureOf {
        build.onAgent { withEnv(['PATH+BROKEN=' + broken.path]) { ciRegistryDoctor() } }
    }
    assert message == 'no-result (exit 9): ci-registry ended with exit code 9 and no result; the lines above say why.'
}

test('injection: hostile values stay one argument') { Build build ->
    List hostile = ['a b; touch pwned', '$(touch pwned)', '`touch pwned`', "'; touch pwned; '", '${HOME}', '$HOME', '--help',
                    'line\nbreak', '"quoted"', '\\u0024HOME', 'ünïcode', '*', '']
    // a tool that only says what it was given
    File tool = new File(build.folder, 'stub/ci-registry')
    tool.parentFile.mkdirs()
    tool.text = '#!/bin/sh\n[ "$1" != --version ] || { echo ci-registry 0.1.0; exit; }\n' +
        'printf %s "$CI_REGISTRY_ARGUMENTS" | sed \'s/"arguments"/"result"/\' > "$CI_REGISTRY_RESULT_FILE"\n'
    tool.executable = true
    build.onAgent {
        withEnv(['PATH+STUB=' + tool.parent]) {
            assert ciRegistryRun(arguments: hostile).result == hostile
        }
        // and the real one
        for (String value : ['$(touch pwned)', 'ünïcode "and" $HOME']) {
            Map outcome = ciRegistryRun(arguments: ['inspect', '--', value], failOnError: false)
            assert outcome.code == 'usage' && outcome.message.contains("'" + value + "'")
        }
        sh 'test "$(ls -A)" = ""'
    }
}

test('leaks: a planted one is there to be found') { Build build ->
    build.credentials['planted'] = [username: 'x', secret: setup.planted]
    build.onAgent {
        ciRegistryRun.withLogins([dev: 'planted']) {
            sh 'sh -c "sleep 0.5" "$CI_REGISTRY_DEV_PASSWORD"; echo "$CI_REGISTRY_DEV_PASSWORD" | tee file'
        }
    }
    assert build.log.toString().contains('****') && !build.log.toString().contains(setup.planted)
}

test('withCiRegistry: skopeo is logged in to two registries, and nothing is left') { Build build ->
    String repository = suite.repository()
    pushed(build, repository)
    Map registries = setup.registries
    String folder = build.onAgent {
        checkout scm
        withEnv(['FROM=' + registries.dev.host, 'TO=' + registries.prod.host, 'REPO=' + repository]) {
            withCiRegistry(credentials: [dev: 'dev-login', prod: 'prod-login'], config: 'ci-registry.yaml') {
                sh 'skopeo --insecure-policy copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$FROM/$REPO:1" "docker://$TO/$REPO:1"'
                sh 'ci-registry list "prod:$REPO" | grep -x 1'
                sh 'test "$(stat -c %a "$DOCKER_CONFIG" "$DOCKER_CONFIG/config.json" | tr -d "\\n")" = 700600'
                env.DOCKER_CONFIG
            }
        }
    }
    assert suite.digest('prod', repository, '1') == setup.digests.image
    assert folder.contains('@tmp/') && !new File(folder).exists()
}

test('withCiRegistry: plug-ins, contexts and proxies of the user stay, logins do not') { Build build ->
    File users = new File(build.folder, 'home/.docker')
    new File(users, 'cli-plugins').mkdirs()
    new File(users, 'cli-plugins/docker-buildx').text = 'plug-in'
    new File(users, 'contexts/meta').mkdirs()
    new File(users, 'config.json').text = '{"auths": {"example.org": {"auth": "eDp5"}}, "credsStore": "pass", ' +
        '"currentContext": "remote", "proxies": {"default": {"httpProxy": "http://p:1"}}, "credHelpers": {"gcr.io": "gcloud"}}'
    Map document = build.onAgent {
        checkout scm
        withCiRegistry(credentials: [dev: 'dev-login']) {
            sh 'test -f "$DOCKER_CONFIG/cli-plugins/docker-buildx" && test -d "$DOCKER_CONFIG/contexts/meta"'
            new groovy.json.JsonSlurperClassic().parseText(readFile(env.DOCKER_CONFIG + '/config.json')) as LinkedHashMap
        }
    }
    assert document.keySet() == ['currentContext', 'proxies', 'credHelpers'] as Set
    assert document.credHelpers == ['gcr.io': 'gcloud', (setup.registries.dev.host): 'ci-registry']
    assert new File(users, 'cli-plugins/docker-buildx').exists()
}

test('withCiRegistry: removed when the build is aborted') { Build build ->
    String folder = null
    try {
        build.onAgent {
            checkout scm
            withCiRegistry(credentials: [dev: 'dev-login']) {
                folder = env.DOCKER_CONFIG
                throw new FlowInterruptedException('aborted')
            }
        }
        assert false
    } catch (FlowInterruptedException expected) {
        assert folder != null && !new File(folder).exists()
    }
}

test('withCiRegistry: without a target it says what is missing') { Build build ->
    assert failureOf { build.onAgent { withCiRegistry([:]) { } } } =~ /no target is named/
}
